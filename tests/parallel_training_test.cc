// Several processes that train one model, as threads here.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <utility>

#include "grouphead/models/model.h"
#include "grouphead/train/step_trace.h"
#include "io/file.h"
#include "saved/checkpoint.h"
#include "thread_communicator.h"
#include "training_support.h"

namespace grouphead {
namespace {

using ::testing::HasSubstr;
using testing_support::example_text;
using testing_support::FolderTest;
using testing_support::run_processes;
using testing_support::same_bits;
using testing_support::same_weights;
using testing_support::tiny_config;

TrainerConfig eight_blocks() {
  TrainerConfig config = tiny_config();
  config.batch_size = 8;
  config.batch_blocks = 8;
  config.steps = 50;
  return config;
}

/// What a process has at the end.
struct Result {
  std::vector<double> losses, norms;
  double validation = 0;
  std::vector<Tensor> weights;
  std::vector<bool> has_state;
};

Result train(const TrainerConfig& config, Index steps, std::shared_ptr<Communicator> job) {
  Context ctx({.num_threads = 1});
  Trainer trainer(ctx, config, TextData(example_text(5000), config.sequence_length), job);
  Result result;
  for (Index i = 0; i < steps; ++i) {
    const auto step = trainer.step();
    result.losses.push_back(step.loss);
    result.norms.push_back(step.gradient_norm);
  }
  result.validation = trainer.validate();
  for (const auto& named : trainer.model().parameters()) {
    Tensor copied(named.parameter->shape(), named.parameter->dtype());
    copy(named.parameter->value(), copied);
    result.weights.push_back(copied);
  }
  for (const Tensor& moment : trainer.optimizer().slots()[0].tensors) {
    result.has_state.push_back(moment.has_value());
  }
  return result;
}

std::vector<Result> train_together(int size, const TrainerConfig& config, Index steps) {
  std::vector<Result> results(static_cast<std::size_t>(size));
  run_processes(size, [&](std::shared_ptr<Communicator> job) {
    const auto rank = static_cast<std::size_t>(job->rank());
    results[rank] = train(config, steps, job);
  });
  return results;
}

void expect_same(const Result& a, const Result& b, const std::string& what) {
  EXPECT_EQ(a.losses, b.losses) << what;
  EXPECT_EQ(a.norms, b.norms) << what;
  EXPECT_EQ(a.validation, b.validation) << what;
  ASSERT_EQ(a.weights.size(), b.weights.size());
  for (std::size_t i = 0; i < a.weights.size(); ++i) {
    EXPECT_TRUE(same_bits(a.weights[i], b.weights[i])) << what << ", parameter " << i;
  }
}

TEST(DataParallel, FiftyStepsHaveTheBitsOfOneProcess) {
  const Result alone = train(eight_blocks(), 50, nullptr);
  EXPECT_LT(alone.losses.back(), 0.8 * alone.losses.front());
  for (const int size : {1, 2, 3, 4}) {
    const std::vector<Result> results = train_together(size, eight_blocks(), 50);
    for (std::size_t rank = 0; rank < results.size(); ++rank) {
      expect_same(results[rank], alone,
                  "process " + std::to_string(rank) + " of " + std::to_string(size));
    }
  }
}

// Blocks that are no power of two, and of unlike sizes.
TEST(DataParallel, OddBlocksHaveTheBitsOfOneProcess) {
  TrainerConfig config = eight_blocks();
  config.batch_size = 7;
  config.batch_blocks = 5;
  const Result alone = train(config, 5, nullptr);
  for (const int size : {2, 3, 5}) {
    for (const Result& result : train_together(size, config, 5)) {
      expect_same(result, alone, std::to_string(size) + " processes");
    }
  }
}

TEST(DataParallel, BlocksAddUpToTheBatch) {
  TrainerConfig whole = eight_blocks();
  whole.batch_blocks = 1;
  whole.dropout = 0;
  TrainerConfig cut = whole;
  cut.batch_blocks = 8;
  const Result one = train(whole, 3, nullptr);
  const Result eight = train(cut, 3, nullptr);
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_NEAR(one.losses[i], eight.losses[i], 1e-5 * one.losses[i]);
    EXPECT_NEAR(one.norms[i], eight.norms[i], 1e-4 * one.norms[i]);
  }
}

TEST(DataParallel, EachParameterHasItsStateInOneProcess) {
  const std::vector<Result> results = train_together(3, eight_blocks(), 1);
  for (std::size_t i = 0; i < results[0].has_state.size(); ++i) {
    int owners = 0;
    for (const Result& result : results) owners += result.has_state[i] ? 1 : 0;
    EXPECT_EQ(owners, 1) << "parameter " << i;
  }
  for (const Result& result : results) {
    EXPECT_GT(std::count(result.has_state.begin(), result.has_state.end(), true), 0);
  }
}

/// Sums of gradients that travelled before the backward pass was over, of all in a step.
std::pair<int, int> overlapping_of(const StepTrace& trace) {
  double backward_end = 0;
  for (const TraceEvent& event : trace.events()) {
    if (event.name.starts_with("forward and backward")) backward_end = event.end;
  }
  int overlapping = 0;
  int sums = 0;
  for (const TraceEvent& event : trace.events()) {
    if (!event.is_communication) continue;
    ++sums;
    if (event.end < backward_end) ++overlapping;
  }
  return {overlapping, sums};
}

// The system decides when a thread runs, so one step of many has to show it.
TEST(DataParallel, SumsOfGradientsTravelWhileTheBackwardRuns) {
  TrainerConfig config = eight_blocks();
  config.hidden_size = 64;
  config.num_layers = 4;
  config.sequence_length = 64;
  config.batch_blocks = 2;
  config.steps = 100;
  std::array<int, 2> most = {};
  run_processes(2, [&](std::shared_ptr<Communicator> job) {
    Context ctx({.num_threads = 1});
    Trainer trainer(ctx, config, TextData(example_text(5000), config.sequence_length), job);
    StepTrace trace;
    trainer.set_trace(&trace);
    int& own_most = most[static_cast<std::size_t>(job->rank())];
    while (!trainer.is_done() && job->any(own_most == 0)) {
      trainer.step();
      const auto [overlapping, sums] = overlapping_of(trace);
      EXPECT_GT(sums, 20);
      own_most = std::max(own_most, overlapping);
    }
  });
  for (const int overlapping : most) EXPECT_GT(overlapping, 0);
}

// The table of docs/scale.md.
TEST(DataParallel, SendsAsManyBytesAsTheCostModelSays) {
  for (const int size : {1, 2, 4}) {
    std::vector<Index> sent(static_cast<std::size_t>(size));
    Index elements = 0;
    Index tensors = 0;
    run_processes(size, [&](std::shared_ptr<Communicator> job) {
      const TrainerConfig config = eight_blocks();
      Context ctx({.num_threads = 1});
      Trainer trainer(ctx, config, TextData(example_text(5000), config.sequence_length), job);
      trainer.step();
      sent[static_cast<std::size_t>(job->rank())] = job->bytes_sent();
      if (job->rank() != 0) return;
      elements = count_elements(trainer.model().parameters());
      tensors = static_cast<Index>(trainer.model().parameters().size());
    });
    Index all = 0;
    for (const Index bytes : sent) all += bytes;
    EXPECT_EQ(all, 8 * elements * (size - 1) + 8 * size * (size - 1) * (tensors + 8 / size + 1))
        << size << " processes";
  }
}

TEST(DataParallel, RefusesMoreProcessesThanBlocks) {
  TrainerConfig config = eight_blocks();
  config.batch_blocks = 2;
  try {
    train_together(3, config, 1);
    FAIL();
  } catch (const ConfigError& error) {
    EXPECT_THAT(error.what(), HasSubstr("batch blocks: expected one or more for each of 3"));
  }
}

// A step that fails in one process ends in the others too, and no thread waits for ever.
TEST(DataParallel, AFailedProcessEndsTheStepsOfTheOthers) {
  EXPECT_THROW(run_processes(3,
                             [](std::shared_ptr<Communicator> job) {
                               const TrainerConfig config = eight_blocks();
                               Context ctx({.num_threads = 1});
                               Trainer trainer(ctx, config, TextData(example_text(5000), 24), job);
                               trainer.step();
                               if (job->rank() == 1) throw Error("out of luck");
                               trainer.step();
                             }),
               Error);
}

class ParallelCheckpoint : public FolderTest {};

/// Steps up to `end` by `size` processes, from the checkpoint in `from` where there is one, then a
/// checkpoint in `to`.
void train_to(Index end, int size, const std::filesystem::path& from,
              const std::filesystem::path& to) {
  std::filesystem::create_directories(to);
  run_processes(size, [&](std::shared_ptr<Communicator> job) {
    Context ctx({.num_threads = 1});
    const TrainerConfig config = eight_blocks();
    Trainer trainer(ctx, config, TextData(example_text(5000), config.sequence_length), job);
    saved::History history;
    if (!from.empty()) {
      const saved::Checkpoint checkpoint = saved::read_checkpoint(from);
      EXPECT_EQ(checkpoint.config, config);
      saved::restore(checkpoint, trainer);
      history = checkpoint.history;
    }
    while (trainer.steps_done() < end) {
      const auto step = trainer.step();
      history.push_back({.step = trainer.steps_done(),
                         .loss = step.loss,
                         .learning_rate = step.learning_rate,
                         .gradient_norm = step.gradient_norm});
    }
    trainer.optimizer().gather_state();
    if (job->rank() == 0) saved::save(to, trainer, history, {});
  });
}

TEST_F(ParallelCheckpoint, FourProcessesResumeOneAndOneResumesFour) {
  const auto in = [&](const char* name) { return folder_ / name; };
  train_to(12, 1, {}, in("whole"));
  train_to(5, 4, {}, in("four"));
  train_to(12, 1, in("four"), in("four_one"));
  train_to(5, 1, {}, in("one"));
  train_to(12, 4, in("one"), in("one_four"));
  const std::string whole = io::read_file(in("whole") / "state.safetensors");
  EXPECT_GT(whole.size(), 1000U);
  for (const char* other : {"four_one", "one_four"}) {
    EXPECT_EQ(io::read_file(in(other) / "state.safetensors"), whole) << other;
  }
}

}  // namespace
}  // namespace grouphead
