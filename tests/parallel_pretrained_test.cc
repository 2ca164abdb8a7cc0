// Models of Hugging Face that the processes of a grid train, as threads here.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <utility>

#include "grid_support.h"
#include "saved/huggingface/tuning.h"

namespace grouphead {
namespace {

namespace fs = std::filesystem;
using parallel::GridSizes;
using testing_support::error_of;
using testing_support::FolderTest;
using testing_support::run_processes;

const fs::path kFamilies = fs::path(GROUPHEAD_SOURCE_DIR) / "tests/golden/hf";
constexpr Index kLength = 16, kTokens = 600;
constexpr std::int32_t kVocabulary = 20;

TunerConfig twenty_steps(Index blocks, TunedPart part = TunedPart::all) {
  TunerConfig config{.part = part, .lora_rank = 2};
  config.training.sequence_length = kLength;
  config.training.batch_size = 4;
  config.training.steps = 20;
  config.training.learning_rate = 0.004;
  config.training.warmup_steps = 2;
  config.training.batch_blocks = blocks;
  config.training.seed = 7;
  return config;
}

TextData tokens() {
  std::vector<std::int32_t> all;
  for (std::int32_t i = 0; i < kTokens; ++i) all.push_back(i * i % kVocabulary);
  return {std::move(all), kLength};
}

std::vector<double> losses_of(const fs::path& folder, const TunerConfig& config,
                              parallel::ProcessGrid grid) {
  Context ctx({.num_threads = 1});
  Tuner tuner(ctx, load_pretrained(folder).model, config, tokens(), std::move(grid));
  std::vector<double> losses;
  while (!tuner.is_done()) losses.push_back(tuner.step().loss);
  losses.push_back(tuner.validate());
  return losses;
}

void expect_losses_of_one(const std::string& family, int size, const GridSizes& sizes,
                          TunedPart part = TunedPart::all) {
  SCOPED_TRACE(family + ", --sp " + std::to_string(sizes.sequence) + " --tp " +
               std::to_string(sizes.tensors));
  const TunerConfig config =
      twenty_steps(std::max<Index>(1, size / (sizes.sequence * sizes.tensors)), part);
  const std::vector<double> alone = losses_of(kFamilies / family, config, {});
  EXPECT_LT(alone[19], alone[0]);
  run_processes(size, [&](std::shared_ptr<Communicator> job) {
    const std::vector<double> losses =
        losses_of(kFamilies / family, config, parallel::make_grid(job, sizes));
    ASSERT_EQ(losses.size(), alone.size());
    for (std::size_t i = 0; i < alone.size(); ++i) {
      EXPECT_NEAR(losses[i], alone[i], 1e-5 * alone[i]) << i;
    }
  });
}

// With windows, biases of queries, keys and values, norms of their heads, scaled and tied heads.
TEST(PretrainedParallel, TwentyStepsHaveTheLossesOfOneProcess) {
  for (const char* family : {"llama", "mistral", "qwen2", "qwen3", "smollm3", "granite"}) {
    expect_losses_of_one(family, 2, {.sequence = 2});
    expect_losses_of_one(family, 2, {.tensors = 2});
  }
  expect_losses_of_one("llama", 4, {.sequence = 2, .tensors = 2});
  expect_losses_of_one("qwen3", 8, {.batch = 2, .sequence = 2, .tensors = 2});
  // Without tensors that are shared out more families do.
  for (const char* family : {"gemma2", "olmo2", "mixtral", "bloom", "llama_dynamic"}) {
    expect_losses_of_one(family, 2, {.sequence = 2});
  }
}

TEST(PretrainedParallel, PartsOfAModelAreTrained) {
  expect_losses_of_one("qwen3", 4, {.sequence = 2, .tensors = 2}, TunedPart::attention);
  expect_losses_of_one("llama", 2, {.sequence = 2}, TunedPart::lora);
}

class PretrainedCheckpoint : public FolderTest {};

/// Ten steps by a grid, from the checkpoint in `from` where there is one, then one in `to`.
void train_to(Index end, const fs::path& from, const fs::path& to, int size,
              const GridSizes& sizes) {
  fs::create_directories(to);
  run_processes(size, [&](std::shared_ptr<Communicator> job) {
    Context ctx({.num_threads = 1});
    std::optional<saved::TuningCheckpoint> checkpoint;
    if (!from.empty()) checkpoint = saved::read_tuning_checkpoint(from);
    const PretrainedModel model =
        checkpoint ? checkpoint->pretrained : load_pretrained(kFamilies / "qwen3");
    Tuner tuner(ctx, model.model, twenty_steps(1), tokens(), parallel::make_grid(job, sizes));
    if (checkpoint) saved::restore(*checkpoint, tuner);
    while (tuner.steps_done() < end) tuner.step();
    saved::History history(static_cast<std::size_t>(end));
    tuner.save([&] { saved::save(to, model, tuner, history, {}, {}); });
  });
}

TEST_F(PretrainedCheckpoint, ARunGoesOnWithOtherProcesses) {
  const auto in = [&](const char* name) { return folder_ / name; };
  train_to(20, {}, in("whole"), 1, {});
  train_to(10, {}, in("four"), 4, {.sequence = 2, .tensors = 2});
  train_to(20, in("four"), in("four_one"), 1, {});
  train_to(10, {}, in("one"), 1, {});
  train_to(20, in("one"), in("one_two"), 2, {.tensors = 2});
  const auto whole = io::read_safetensors(in("whole") / "state.safetensors").tensors;
  for (const char* other : {"four_one", "one_two"}) {
    const auto tensors = io::read_safetensors(in(other) / "state.safetensors").tensors;
    ASSERT_EQ(tensors.size(), whole.size());
    for (const auto& [name, want] : whole) {
      if (name == "history") continue;
      const testing::Comparison compared = testing::compare(name, tensors.at(name), want, 2e-3);
      EXPECT_TRUE(compared.ok()) << other << ": " << compared.to_string();
    }
    EXPECT_EQ(load_pretrained(in(other)).model->config().num_layers,
              load_pretrained(in("whole")).model->config().num_layers);
  }
}

TEST(PretrainedParallel, RefusesWhatItDoesNotHave) {
  const auto error = [](const char* family, const GridSizes& sizes,
                        TunedPart part = TunedPart::all) {
    return error_of<ConfigError>([&] {
      run_processes(2, [&](std::shared_ptr<Communicator> job) {
        losses_of(kFamilies / family, twenty_steps(1, part), parallel::make_grid(job, sizes));
      });
    });
  };
  const GridSizes sequence{.sequence = 2}, tensors{.tensors = 2};
  EXPECT_EQ(error("gpt2", sequence),
            "[train] --sp: expected a model without tables of positions, got one with them");
  EXPECT_EQ(error("gpt_oss", sequence),
            "[train] --sp: expected a model without attention sinks, got one with them");
  EXPECT_EQ(error("gemma2", tensors),
            "[train] --tp: expected a model without norms elsewhere than before attention and "
            "feed-forward, got one with them");
  EXPECT_EQ(error("mixtral", tensors),
            "[train] --tp: expected a model without experts, got one with them");
  EXPECT_EQ(error("gpt2", tensors),
            "[train] --tp: expected a model without dropped probabilities, got one with them");
  EXPECT_EQ(error("llama", tensors, TunedPart::lora),
            "[train] --tp: expected 1 for low-rank changes, --train lora, got more");
}

}  // namespace
}  // namespace grouphead
