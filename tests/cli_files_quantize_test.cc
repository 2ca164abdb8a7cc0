// `grouphead convert --quantize` on files of Keras, as a user runs it.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "program.h"
#include "quantized_support.h"
#include "training_support.h"

namespace grouphead {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing_support::arrays_of;
using testing_support::kQuantizedModels;
using testing_support::Outcome;
using testing_support::Program;

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
