// `grouphead convert` on Keras's files.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "grouphead/files/saved_model.h"
#include "grouphead/files/tensors.h"
#include "grouphead/files/weights.h"
#include "grouphead/models/conversion.h"
#include "program.h"
#include "training_support.h"

namespace grouphead {
namespace {

using ::testing::HasSubstr;
using testing_support::Outcome;
using testing_support::Program;

using ConvertedFile = testing_support::FolderTest;

std::string golden(const std::string& name) {
  return std::string(GROUPHEAD_SOURCE_DIR) + "/tests/golden/keras/models/" + name;
}

TEST_F(ConvertedFile, IsWhatTheLibraryConverts) {
  Context ctx;
  const std::string source = golden("model_c_mha_encoder.keras");
  const Outcome outcome = Program(folder_, {"convert", "--kv-heads", "1", source, path("x.keras"),
                                            "--inputs", golden("model_c_mha_encoder.safetensors")})
                              .wait();
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("3 -> 1"));
  const auto before = load_model(source);
  const auto written = load_model(path("x.keras"));
  const auto converted = convert_heads(*before, {.num_key_value_heads = 1});
  const std::vector<Tensor> inputs = random_inputs(*before, 1);
  const ConversionReport report = compare_heads(ctx, *converted, *written, inputs);
  EXPECT_TRUE(report.layers.empty());
  EXPECT_EQ(report.output_error, 0);
}

TEST_F(ConvertedFile, WithAsManyHeadsLosesNothing) {
  Context ctx;
  const auto before = load_model(golden("model_c_mha_encoder.keras"));
  const auto after = convert_heads(*before, {.num_key_value_heads = 3});
  EXPECT_EQ(after->get_layer("mha")->class_name(), "GroupQueryAttention");
  const ConversionReport report = compare_heads(ctx, *before, *after, random_inputs(*before, 1));
  ASSERT_EQ(report.layers.size(), 1U);
  EXPECT_LT(report.layers[0].error, 1e-6);
  EXPECT_LT(report.output_error, 1e-6);
}

TEST_F(ConvertedFile, FormsOfFilesHaveTheSameNumbers) {
  const std::string source = golden("model_b_gqa_residual.keras");
  const auto run = [&](const std::vector<std::string>& arguments) {
    return Program(folder_, arguments).wait();
  };
  ASSERT_EQ(run({"convert", source, path("x.keras")}).code, 0);
  EXPECT_EQ(run({"run", path("x.keras"), "--inputs", golden("model_b_gqa_residual.safetensors"),
                 "--expect"})
                .code,
            0);
  const auto before = load_model(source);
  const auto want = before->parameters();
  for (const char* name : {"x.weights.h5", "x.weights.json", "x.safetensors"}) {
    ASSERT_EQ(run({"convert", source, path(name)}).code, 0) << name;
    const auto model = load_model(source);
    for (const auto& each : model->parameters()) fill_zero(each.parameter->edit());
    load_weights(*model, path(name));
    for (std::size_t i = 0; i < want.size(); ++i) {
      EXPECT_TRUE(testing_support::same_bits(model->parameters()[i].parameter->value(),
                                             want[i].parameter->value()))
          << name << " " << want[i].path;
    }
  }
  const Outcome refused = run({"convert", source, path("x.h5")});
  EXPECT_EQ(refused.code, 2);
  EXPECT_THAT(refused.err, HasSubstr("x.h5: expected .keras, .weights.h5"));
  EXPECT_EQ(run({"convert", source, path("y.keras"), "--pool", "first"}).code, 2);
  EXPECT_FALSE(std::filesystem::exists(path("y.keras")));
}

// What `grouphead run` writes as .npz it reads back as inputs of the same names.
TEST_F(ConvertedFile, OutputsAndInputsMayBeArchives) {
  const std::string model = golden("model_b_gqa_residual.keras");
  const std::string inputs = golden("model_b_gqa_residual.safetensors");
  const auto run = [&](const std::vector<std::string>& arguments) {
    return Program(folder_, arguments).wait();
  };
  ASSERT_EQ(run({"run", model, "--inputs", inputs, "--out", path("y.npz")}).code, 0);
  ASSERT_EQ(run({"run", model, "--inputs", inputs, "--out", path("y.safetensors")}).code, 0);
  const auto archive = read_tensors(path("y.npz"));
  const auto tensors = read_tensors(path("y.safetensors"));
  ASSERT_EQ(archive.size(), tensors.size());
  EXPECT_TRUE(testing_support::same_bits(archive.at("output"), tensors.at("output")));
  write_tensors(path("x.npz"), read_tensors(inputs));
  EXPECT_EQ(run({"run", model, "--inputs", path("x.npz"), "--expect"}).code, 0);
  const Outcome refused = run({"run", model, "--inputs", inputs, "--out", path("y.txt")});
  EXPECT_EQ(refused.code, 2);
  EXPECT_THAT(refused.err, HasSubstr("y.txt: expected a name that ends in .safetensors or .npz"));
}

}  // namespace
}  // namespace grouphead
