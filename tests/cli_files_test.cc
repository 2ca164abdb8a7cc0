// `grouphead run` and `grouphead inspect`, as a user types them.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "command.h"
#include "io/json.h"
#include "io/safetensors.h"

namespace grouphead {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using testing_support::CommandResult;
using testing_support::run_grouphead;

const std::string kModels = GROUPHEAD_SOURCE_DIR "/tests/golden/keras/models/";
const std::string kFiles = GROUPHEAD_SOURCE_DIR "/tests/golden/keras_files/";

std::string run_of(const std::string& model, const std::string& more) {
  return "run " + kModels + model + ".keras --inputs " + kModels + model + ".safetensors " + more;
}

TEST(CliFiles, EveryGoldenModelIsAsExpected) {
  int models = 0;
  for (const auto& entry : fs::directory_iterator(kModels)) {
    if (entry.path().extension() != ".keras") continue;
    const CommandResult result = run_grouphead(run_of(entry.path().stem(), "--expect"));
    EXPECT_EQ(result.exit_code, 0) << result.output;
    EXPECT_THAT(result.output, AllOf(HasSubstr("passed"), HasSubstr("error ")));
    ++models;
  }
  EXPECT_GE(models, 9);
}

TEST(CliFiles, RunWritesOutputsAndComparesThem) {
  const std::string out = ::testing::TempDir() + "cli_files_out.safetensors";
  ASSERT_EQ(run_grouphead(run_of("model_g_gated_window", "--out " + out)).exit_code, 0);
  const io::Safetensors made = io::read_safetensors(out);
  EXPECT_EQ(made.tensors.size(), 2U);
  EXPECT_EQ(made.at("output.1").shape(), Shape({2, 2, 9, 9}));
  const CommandResult strict = run_grouphead(run_of("model_b_gqa_residual", "--expect --atol 0"));
  EXPECT_EQ(strict.exit_code, 1);
  EXPECT_THAT(strict.output, HasSubstr("FAILED"));
}

TEST(CliFiles, BadInputEndsWithTwo) {
  const std::string inputs = " --inputs " + kFiles + "int8.safetensors";
  const CommandResult missing = run_grouphead("run " + kFiles + "trained.keras" + inputs);
  EXPECT_EQ(missing.exit_code, 2);
  EXPECT_THAT(missing.output, HasSubstr("expected inputs.x or x, got exact, inputs.tokens"));
  EXPECT_EQ(run_grouphead("run " + kFiles + "int8.keras --expect" + inputs).exit_code, 2);
  EXPECT_EQ(run_grouphead("run none.keras" + inputs).exit_code, 2);
  EXPECT_EQ(run_grouphead("inspect none.keras").exit_code, 2);
}

TEST(CliFiles, InspectShowsLayersConnectionsAndCosts) {
  const CommandResult text = run_grouphead("inspect " + kModels + "model_a_seq_nested.keras");
  EXPECT_EQ(text.exit_code, 0);
  EXPECT_THAT(text.output, AllOf(HasSubstr("Keras 3.15.1"), HasSubstr("GroupQueryAttention"),
                                 HasSubstr("8 numbers for each token"), HasSubstr("_query_dense/"),
                                 HasSubstr("attention_in")));
  const CommandResult json =
      run_grouphead("inspect --json " + kModels + "model_a_seq_nested.keras");
  const ConfigValue found = io::parse_json(json.output, "inspect");
  EXPECT_EQ(found["model"]["parameters"], ConfigValue(398));
  EXPECT_EQ(found["numbers"], ConfigValue(398));
  EXPECT_EQ(found["model"]["layers"].as_list("layers")[2]["kv_cache"], ConfigValue(8));
}

TEST(CliFiles, InspectShowsWhatCannotBeRun) {
  const CommandResult others = run_grouphead("inspect " + kFiles + "others.keras");
  EXPECT_EQ(others.exit_code, 0);
  EXPECT_THAT(others.output, AllOf(HasSubstr("LSTM"), HasSubstr("cannot be run")));
  for (const char* file : {"trained.h5", "trained.weights.h5", "trained.safetensors"}) {
    EXPECT_EQ(run_grouphead("inspect " + kFiles + file).exit_code, 0) << file;
  }
}

}  // namespace
}  // namespace grouphead
