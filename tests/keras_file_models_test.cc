// Models as Keras's and KerasHub's users build them, by the program: tests/golden/keras_models.

#include <gmock/gmock.h>

#include <filesystem>

#include "command.h"

namespace grouphead {
namespace {

using ::testing::HasSubstr;
using testing_support::CommandResult;
using testing_support::run_grouphead;

std::vector<std::filesystem::path> models() {
  std::vector<std::filesystem::path> found;
  const auto folder = std::filesystem::path(GROUPHEAD_SOURCE_DIR) / "tests/golden/keras_models";
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() == ".keras") found.push_back(entry.path());
  }
  return found;
}

CommandResult compared(const std::filesystem::path& model, std::filesystem::path inputs) {
  inputs.replace_extension(".safetensors");
  return run_grouphead("run " + model.string() + " --inputs " + inputs.string() + " --expect");
}

TEST(KerasFileModels, GiveWhatKerasGives) {
  ASSERT_EQ(models().size(), 14U);
  for (const auto& model : models()) {
    const CommandResult result = compared(model, model);
    EXPECT_EQ(result.exit_code, 0) << model << ": " << result.output;
    EXPECT_THAT(result.output, HasSubstr("passed")) << model;
  }
}

TEST(KerasFileModels, GiveItOnceMoreWhenWrittenBack) {
  const std::filesystem::path written = ::testing::TempDir() + "keras_file_models_written.keras";
  for (const auto& model : models()) {
    std::filesystem::remove(written);
    const CommandResult converted =
        run_grouphead("convert " + model.string() + " " + written.string());
    ASSERT_EQ(converted.exit_code, 0) << model << ": " << converted.output;
    const CommandResult result = compared(written, model);
    EXPECT_EQ(result.exit_code, 0) << model << ": " << result.output;
  }
}

}  // namespace
}  // namespace grouphead
