// Sequences that several processes share out in training.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <utility>

#include "grid_support.h"
#include "grouphead/models/model.h"
#include "grouphead/parallel/ring_attention.h"
#include "grouphead/train/step_trace.h"
#include "nn/attention/rope_tables.h"

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

// Which elements are dropped does not depend on who has them: blocks of 3 positions of width 12,
// and of width 18, which begin within a block of random words.
TEST(SequenceParallel, DropsOutAsOneProcess) {
  for (const Index width : {12, 18}) {
    TrainerConfig config = plain_config();
    config.dropout = 0.25;
    config.hidden_size = width;
    config.num_heads = config.num_key_value_heads = 3;
    config.rope = false;
    config.sequence_length = 24;
    for (const auto& [size, sequence] : {std::pair{2, 2}, {4, 4}, {4, 2}}) {
      config.batch_blocks = size / sequence;
      const Said alone = said_by(config, 5, {});
      for (const Said& said : said_together(size, {.sequence = sequence}, config, 5)) {
        expect_near(said, alone,
                    std::to_string(size) + " processes, width " + std::to_string(width));
      }
    }
  }
}

TEST(SequenceParallel, RotationAnglesAreThoseOfTheOwnPositions) {
  const RopeConfig rules[] = {
      {}, {.rotary_dims = 4}, {.dynamic = DynamicRopeConfig{.factor = 4, .max_position = 16}}};
  constexpr Index kPositions = 96;
  for (const RopeConfig& rule : rules) {
    nn::RopeTables whole(8, rule, Dtype::f32);
    const ops::RopeTable all = whole.covering(kPositions, kPositions);
    for (int rank = 0; rank < 4; ++rank) {
      const RingShare share = ring_share(kPositions, rank, 4);
      nn::RopeTables own(8, rule, Dtype::f32);
      const ops::RopeTable part = own.of_share(share, kPositions);
      EXPECT_TRUE(same_bits(part.cos, ring_part(all.cos, 0, share))) << rank;
      EXPECT_TRUE(same_bits(part.sin, ring_part(all.sin, 0, share))) << rank;
      const ops::RopeTable again = own.of_share(share, kPositions);
      EXPECT_EQ(again.cos.view().raw(), part.cos.view().raw());
    }
  }
}

/// Whether communication of that name went on while something of the other name was computed.
bool overlap(const StepTrace& trace, std::string_view communication, std::string_view computation) {
  const std::vector<TraceEvent> events = trace.events();
  return std::ranges::any_of(events, [&](const TraceEvent& sent) {
    return sent.is_communication && sent.thread == 1 && sent.name.starts_with(communication) &&
           std::ranges::any_of(events, [&](const TraceEvent& computed) {
             return !computed.is_communication && computed.name.starts_with(computation) &&
                    sent.begin < computed.end && computed.begin < sent.end;
           });
  });
}

// The system decides when a thread runs, so one step of many has to show it.
TEST(SequenceParallel, ATraceShowsKeysOnTheirWayBesideTheComputation) {
  TrainerConfig config = plain_config();
  config.sequence_length = 96;
  config.batch_blocks = 1;
  config.steps = 100;
  run_processes(3, [&](std::shared_ptr<Communicator> job) {
    Context ctx({.num_threads = 1});
    Trainer trainer(ctx, config, TextData(example_text(5000), config.sequence_length),
                    parallel::make_grid(job, {.sequence = 3}));
    StepTrace trace;
    trainer.set_trace(&trace);
    bool forward = false, backward = false, gradients = false;
    while (!trainer.is_done() && job->any(!(forward && backward && gradients))) {
      trainer.step();
      forward = forward || overlap(trace, "keys of process", "attention to process");
      backward = backward || overlap(trace, "keys of process", "gradients of attention");
      gradients = gradients || overlap(trace, "gradients to process", "gradients of attention");
    }
    EXPECT_TRUE(forward && backward && gradients) << forward << backward << gradients;
  });
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
      HasSubstr("[compile] sequence: expected none but for a language model, got Dense"));
}

}  // namespace
}  // namespace grouphead
