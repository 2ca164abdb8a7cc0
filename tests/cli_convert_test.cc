// `grouphead convert` on folders, and `grouphead train --init-from`, as a user runs them.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "grouphead/files/weights.h"
#include "program.h"
#include "saved/model_folder.h"
#include "training_support.h"

namespace grouphead {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using testing_support::contents_of;
using testing_support::example_text;
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

}  // namespace
}  // namespace grouphead
