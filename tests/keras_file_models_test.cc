// Models as Keras's and KerasHub's users build them, by the program: tests/golden/keras_models.

#include <gmock/gmock.h>

#include <algorithm>
#include <filesystem>

#include "command.h"
#include "decoded.h"

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

// By their whole pass each time, and by the program with caches.
TEST(KerasFileModels, GoOnTokenByToken) {
  const std::string models = GROUPHEAD_SOURCE_DIR "/tests/golden/keras_hub/models/";
  const auto model = load_model(models + "llama_causal.keras");
  Context ctx({.num_threads = 2});
  std::vector<std::int32_t> text = {3, 1, 4};
  std::string want;
  for (int i = 0; i < 4; ++i) {
    const Tensor logits = testing_support::whole_pass(ctx, *model, text);
    const float* last = logits.data<float>() + (logits.dim(0) - 1) * logits.dim(1);
    const auto best = std::max_element(last, last + logits.dim(1)) - last;
    text.push_back(static_cast<std::int32_t>(best));
    want += (i > 0 ? "," : "") + std::to_string(best);
  }
  const std::string command = "generate " + models +
                              "llama_causal.keras --quiet --temperature 0 --tokens 4 "
                              "--prompt-tokens 3,1,4";
  const CommandResult got = run_grouphead(command);
  EXPECT_EQ(got.exit_code, 0) << got.output;
  EXPECT_EQ(got.output, want + "\n");
  EXPECT_EQ(run_grouphead(command + " --draft " + models + "llama_causal.keras").output,
            got.output);
  const CommandResult masked =
      run_grouphead("generate " + models + "bert_masked.keras --prompt-tokens 3");
  EXPECT_EQ(masked.exit_code, 2);
  EXPECT_THAT(masked.output, HasSubstr("expected tokens [B, T]"));
}

}  // namespace
}  // namespace grouphead
