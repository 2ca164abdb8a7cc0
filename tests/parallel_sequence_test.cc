// Sequences that several processes share out in training.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <utility>

#include "grid_support.h"
#include "grouphead/models/model.h"

namespace grouphead {
namespace {

using ::testing::HasSubstr;
using testing_support::error_of;
using testing_support::example_text;
using testing_support::expect_near;
using testing_support::plain_config;
using testing_support::run_processes;
using testing_support::Said;
using testing_support::said_by;
using testing_support::said_together;
using testing_support::same_bits;

TEST(SequenceParallel, FiftyStepsHaveTheLossesOfOneProcess) {
  for (const bool rope : {true, false}) {
    TrainerConfig config = plain_config();
    config.rope = rope;
    const Said alone = said_by(config, 50, {});
    EXPECT_LT(alone.losses.back(), 0.8 * alone.losses.front());
    for (const auto& [size, sequence] : {std::pair{2, 2}, {3, 3}, {4, 4}, {4, 2}, {6, 3}}) {
      const std::string what = std::to_string(size) + " processes, " + std::to_string(sequence) +
                               " for a sequence" + (rope ? "" : ", without rope");
      const std::vector<Said> all = said_together(size, {.sequence = sequence}, config, 50);
      for (const Said& said : all) expect_near(said, alone, what);
      // All processes end with the same bits.
      for (std::size_t i = 0; i < all[0].weights.size(); ++i) {
        EXPECT_TRUE(same_bits(all[0].weights[i], all.back().weights[i])) << what << " " << i;
      }
    }
  }
}

TEST(SequenceParallel, FirstGradientsAreThoseOfOneProcess) {
  TrainerConfig config = plain_config();
  config.dtype = Dtype::f64;
  const Said alone = said_by(config, 2, {});
  for (const Said& said : said_together(4, {.sequence = 2}, config, 2)) {
    for (std::size_t i = 0; i < 2; ++i) {
      EXPECT_NEAR(said.losses[i], alone.losses[i], 1e-12 * alone.losses[i]);
      EXPECT_NEAR(said.norms[i], alone.norms[i], 1e-10 * alone.norms[i]);
    }
  }
}

// Validation's last batch has fewer samples than blocks; training's have one for each.
TEST(SequenceParallel, ProcessesWithoutSamplesGoAlong) {
  const TrainerConfig config = plain_config();
  const Said alone = said_by(config, 2, {});
  for (const Said& said : said_together(8, {.sequence = 2}, config, 2))
    expect_near(said, alone, "8 processes");
}

// docs/scale.md's table: each layer's ring, causal, forward and backward, beside the sums of
// gradients of so many processes.
TEST(SequenceParallel, AStepSendsWhatTheDocumentationSays) {
  TrainerConfig config = plain_config();
  config.batch_blocks = 2;
  constexpr Index kSequence = 3;
  std::atomic<Index> bytes = 0;
  run_processes(6, [&](std::shared_ptr<Communicator> job) {
    Context ctx({.num_threads = 1});
    const parallel::ProcessGrid grid = parallel::make_grid(job, {.sequence = kSequence});
    Trainer trainer(ctx, config, TextData(example_text(5000), config.sequence_length), grid);
    trainer.step();
    bytes += grid.sequence->bytes_sent();
  });
  const Index keys = config.num_key_value_heads * config.hidden_size / config.num_heads;
  const Index block = config.batch_size * config.sequence_length / (2 * kSequence) * 2 * keys * 4;
  EXPECT_EQ(2 * bytes, config.num_layers * 9 * kSequence * (kSequence - 1) * block);
}

TEST(SequenceParallel, RefusesWhatItDoesNotHave) {
  const auto error = [](int size, Index sequence, const TrainerConfig& config) {
    return error_of<ConfigError>([&] {
      run_processes(size, [&](std::shared_ptr<Communicator> job) {
        said_by(config, 1, parallel::make_grid(job, {.sequence = sequence}));
      });
    });
  };
  TrainerConfig config = plain_config();
  config.batch_blocks = 4;
  EXPECT_EQ(error(4, 3, config),
            "[train] --sp: expected a divisor of the number of processes, 4, got 3");
  config.sequence_length = 50;
  EXPECT_EQ(error(4, 2, config),
            "[train] sequence length: expected a multiple of two for each of the 2 processes that "
            "share out a sequence, got 50");
  config = plain_config();
  config.dropout = 0.25;
  EXPECT_EQ(error(2, 2, config), "[compile] sequence: expected none with dropout, got 0.25");
  EXPECT_EQ(error_of<ConfigError>([] { parallel::make_grid(nullptr, {.sequence = 2}); }),
            "[train] --sp: expected a divisor of the number of processes, 1, got 2");
}

TEST(SequenceParallel, RefusesOtherModels) {
  EXPECT_THAT(
      error_of<ConfigError>([] {
        run_processes(2, [](std::shared_ptr<Communicator> job) {
          Dense model({.units = 1});
          model.build({{1, 8, 4}}, 1);
          compile(model,
                  {.loss = {mean_squared_error()}, .communicator = job, .sequence = job->split(0)});
        });
      }),
      HasSubstr("[compile] sequence: expected none but for a LanguageModel, got"));
}

}  // namespace
}  // namespace grouphead
