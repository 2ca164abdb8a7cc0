// `grouphead convert` on folders, and `grouphead train --init-from`, as a user runs them.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "grouphead/files/weights.h"
#include "program.h"
#include "quantized_support.h"
#include "saved/model_folder.h"
#include "training_support.h"

namespace grouphead {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing_support::arrays_of;
using testing_support::contents_of;
using testing_support::example_text;
using testing_support::kQuantizedModels;
using testing_support::Outcome;
using testing_support::Program;
using testing_support::same_weights;

class ConvertCli : public testing_support::FolderTest {
 protected:
  void SetUp() override {
    FolderTest::SetUp();
    std::ofstream(path("text"), std::ios::binary) << example_text(20000);
    const Outcome made = run(
        {"train", "--text",  path("text"), "--out",      path("base"), "--hidden", "16", "--layers",
         "2",     "--heads", "4",          "--kv-heads", "4",          "--seq",    "24", "--batch",
         "4",     "--steps", "40",         "--lr",       "0.01",       "--quiet"});
    ASSERT_EQ(made.code, 0) << made.err;
  }
  Outcome run(const std::vector<std::string>& arguments) const {
    return Program(folder_, arguments).wait();
  }
};

// The loss in "validation loss X nats per byte".
double loss_in(const std::string& text, const std::string& after) {
  const std::size_t begin = text.find("validation loss ");
  EXPECT_THAT(text, HasSubstr(after));
  return std::stod(text.substr(begin + 16));
}

TEST_F(ConvertCli, ConvertsAFolderAndTrainsFromIt) {
  const Outcome converted =
      run({"convert", "--kv-heads", "2", path("base"), path("gqa"), "--inputs", path("text")});
  EXPECT_EQ(converted.code, 0) << converted.err;
  EXPECT_THAT(converted.out, HasSubstr("gqa_block_2/attn"));
  EXPECT_THAT(converted.out, HasSubstr("4 -> 2"));
  EXPECT_THAT(converted.out, HasSubstr("256 -> 128"));  // 2 layers, 2 Hkv D numbers of 4 bytes
  EXPECT_EQ(saved::load_language_model(path("gqa")).training->num_key_value_heads, 2);

  const Outcome trained = run({"train", "--init-from", path("gqa"), "--text", path("text"), "--out",
                               path("trained"), "--steps", "20", "--lr", "0.005"});
  EXPECT_EQ(trained.code, 0) << trained.err;
  const std::size_t line_end = trained.out.find('\n');
  const double before = loss_in(trained.out.substr(0, line_end), "before the first step");
  const double after = loss_in(trained.out.substr(line_end), "after 20 steps");
  EXPECT_LT(after, before);
  EXPECT_EQ(saved::load_language_model(path("trained")).training->hidden_size, 16);
}

// Before its first step a run has the other model's weights, and it does not change that folder.
TEST_F(ConvertCli, InitFromTakesTheWeights) {
  const std::string weights = contents_of(path("base/model.safetensors"));
  const Outcome trained = run({"train", "--init-from", path("base"), "--text", path("text"),
                               "--out", path("more"), "--steps", "1", "--lr", "1e-30"});
  EXPECT_EQ(trained.code, 0) << trained.err;
  EXPECT_EQ(contents_of(path("base/model.safetensors")), weights);
  const auto base = saved::load_language_model(path("base"));
  const auto more = saved::load_language_model(path("more"));
  EXPECT_TRUE(same_weights(*base.model, *more.model));
}

TEST_F(ConvertCli, MistakesAreNamed) {
  const auto expect_refused = [&](const std::vector<std::string>& arguments,
                                  const std::string& message) {
    const Outcome outcome = run(arguments);
    EXPECT_EQ(outcome.code, 2) << message;
    EXPECT_THAT(outcome.err, HasSubstr(message));
    EXPECT_FALSE(fs::exists(path("out"))) << message;
  };
  expect_refused({"convert", "--kv-heads", "3", path("base"), path("out")},
                 "expected a divisor of the model's 4, less than it, got 3");
  expect_refused({"convert", "--kv-heads", "2", path("none"), path("out")}, "none");
  expect_refused({"convert", "--kv-heads", "2", path("text"), path("out")}, "text");
  expect_refused({"convert", path("base"), path("out")}, "--kv-heads");
  expect_refused({"convert", "--quantize", "int8", path("base"), path("out")},
                 "[convert] --quantize: expected a file of Keras, got the folder");
  expect_refused({"convert", "--kv-heads", "2", path("base"), path("base")},
                 "a training run is there already");
  expect_refused({"train", "--init-from", path("base"), "--text", path("text"), "--out",
                  path("out"), "--hidden", "32"},
                 "embedding/embeddings: expected f32 [256, 32], got f32 [256, 16]");
  expect_refused({"train", "--init-from", path("base"), "--text", path("text"), "--out",
                  path("out"), "--kv-heads", "2"},
                 "gqa_block_1/attn/key/kernel: expected f32 [16, 2, 4], got f32 [16, 4, 4]");
  expect_refused({"train", "--init-from", path("base"), "--resume", "--out", path("out")},
                 "excludes");
  expect_refused(
      {"train", "--init-from", path("none"), "--text", path("text"), "--out", path("out")}, "none");
}

class QuantizeCli : public testing_support::FolderTest {
 protected:
  /// `convert --quantize` of a model of tests/golden/keras_quantized.
  Outcome quantize(const std::string& model, const std::vector<std::string>& mode,
                   const std::string& target) const {
    std::vector<std::string> arguments = {"convert", "--quantize"};
    arguments.insert(arguments.end(), mode.begin(), mode.end());
    arguments.push_back(kQuantizedModels + model + ".keras");
    arguments.push_back(path(target));
    return Program(folder_, arguments).wait();
  }
};

// Keras's arrays bit by bit, and in a file of weights alone.
TEST_F(QuantizeCli, WritesWhatKerasWrites) {
  const std::map<std::string, std::vector<std::string>> modes = {
      {"dense_int8", {"int8"}},
      {"dense_int4", {"int4", "--block-size", "0"}},
      {"dense_int4_groups", {"int4", "--block-size", "3"}}};
  Context ctx;
  for (const auto& [name, mode] : modes) {
    SCOPED_TRACE(name);
    const Outcome made = quantize("dense", mode, name + ".keras");
    ASSERT_EQ(made.code, 0) << made.err;
    EXPECT_THAT(made.err, IsEmpty());
    EXPECT_TRUE(arrays_of(path(name + ".keras")) == arrays_of(kQuantizedModels + name + ".keras"));
    const testing_support::QuantizedModel keras(name);
    const Tensor expected = (*keras.model)(ctx, keras.x);
    for (const char* const ending : {".weights.h5", ".weights.json"}) {
      ASSERT_EQ(quantize("dense", mode, name + ending).code, 0) << ending;
      for (const auto& [place, parameter] : keras.model->parameters()) parameter->edit();
      load_weights(*keras.model, path(name + ending));
      EXPECT_TRUE(testing_support::same_bits((*keras.model)(ctx, keras.x), expected)) << ending;
    }
  }
}

TEST_F(QuantizeCli, BlocksAreAsLargeAsKeras) {
  ASSERT_EQ(quantize("dense", {"int4"}, "default.keras").code, 0);
  ASSERT_EQ(quantize("dense", {"int4", "--block-size", "128"}, "same.keras").code, 0);
  ASSERT_EQ(quantize("dense", {"int4", "--block-size", "0"}, "none.keras").code, 0);
  EXPECT_TRUE(arrays_of(path("default.keras")) == arrays_of(path("same.keras")));
  EXPECT_FALSE(arrays_of(path("default.keras")) == arrays_of(path("none.keras")));
}

TEST_F(QuantizeCli, SaysWhatItCannotQuantize) {
  const Outcome none = quantize("untied", {"float8"}, "none.keras");
  EXPECT_EQ(none.code, 0);
  EXPECT_THAT(none.err, HasSubstr("nothing was quantized"));
  EXPECT_TRUE(fs::exists(path("none.keras")));
  const auto expect_refused = [&](const std::vector<std::string>& mode, const std::string& target,
                                  const std::string& message) {
    const Outcome outcome = quantize("dense", mode, target);
    EXPECT_EQ(outcome.code, 2) << message;
    EXPECT_THAT(outcome.err, HasSubstr(message));
    EXPECT_FALSE(fs::exists(path(target))) << message;
  };
  expect_refused({"int8"}, "out.safetensors",
                 "expected .keras, .weights.h5 or .weights.json beside --quantize");
  expect_refused({"int8"}, "out.npz", "got another ending");
  for (const char* const mode : {"int8", "float8"}) {
    expect_refused({mode, "--block-size", "64"}, "out.keras",
                   std::string("--block-size: expected --quantize int4 beside it, got ") + mode);
  }
}

}  // namespace
}  // namespace grouphead
