// Heads and columns that several processes share out in training.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <utility>

#include "grid_support.h"

namespace grouphead {
namespace {

using parallel::GridSizes;
using testing_support::error_of;
using testing_support::example_text;
using testing_support::expect_near;
using testing_support::plain_config;
using testing_support::run_processes;
using testing_support::Said;
using testing_support::said_by;
using testing_support::said_together;

std::string text_of(int size, const GridSizes& sizes) {
  return std::to_string(size) + " processes, " + std::to_string(sizes.sequence) +
         " for a sequence, " + std::to_string(sizes.tensors) + " for tensors";
}

TEST(TensorParallel, FiftyStepsHaveTheLossesOfOneProcess) {
  TrainerConfig config = plain_config();
  config.num_heads = config.num_key_value_heads = 4;
  const Said alone = said_by(config, 50, {});
  const std::pair<int, GridSizes> grids[] = {{2, {.tensors = 2}},
                                             {4, {.tensors = 4}},
                                             {4, {.tensors = 2}},
                                             {4, {.sequence = 2, .tensors = 2}},
                                             {8, {.batch = 2, .sequence = 2, .tensors = 2}}};
  for (const auto& [size, sizes] : grids) {
    for (const Said& said : said_together(size, sizes, config, 50)) {
      expect_near(said, alone, text_of(size, sizes));
    }
  }
}

// In double, with groups of query heads: the gradients of all, which move the weights.
TEST(TensorParallel, WeightsAreThoseOfOneProcess) {
  TrainerConfig config = plain_config();
  config.dtype = Dtype::f64;
  const Said alone = said_by(config, 4, {});
  for (const GridSizes& sizes : {GridSizes{.tensors = 2}, {.sequence = 2, .tensors = 2}}) {
    const Said first = said_together(4, sizes, config, 4).front();
    for (std::size_t i = 0; i < 4; ++i) {
      EXPECT_NEAR(first.losses[i], alone.losses[i], 1e-12 * alone.losses[i]);
      EXPECT_NEAR(first.norms[i], alone.norms[i], 1e-10 * alone.norms[i]);
    }
    ASSERT_EQ(first.weights.size(), alone.weights.size());
    for (std::size_t i = 0; i < alone.weights.size(); ++i) {
      CHECK_CLOSE(first.weights[i], alone.weights[i], 1e-8, "weights " + std::to_string(i));
    }
  }
}

TEST(TensorParallel, DropsOutAsOneProcess) {
  TrainerConfig config = plain_config();
  config.dropout = 0.25;
  const Said alone = said_by(config, 5, {});
  for (const Said& said : said_together(2, {.tensors = 2}, config, 5)) {
    expect_near(said, alone, "2 processes");
  }
}

std::vector<Tensor> copies_of(const std::vector<train::WholeTensor>& tensors) {
  std::vector<Tensor> copies;
  for (const train::WholeTensor& tensor : tensors) copies.push_back(tensor.read().clone());
  return copies;
}

void take(const std::vector<train::WholeTensor>& tensors, const std::vector<Tensor>& values) {
  for (std::size_t i = 0; i < values.size(); ++i) tensors[i].take(values[i]);
}

/// The optimizer's state after some steps, of which the last ones are of another grid. In the first
/// process.
std::vector<Tensor> state_after(const TrainerConfig& config, Index steps,
                                const std::vector<Tensor>& weights,
                                const std::vector<Tensor>& state, const parallel::ProcessGrid& grid,
                                Said& said) {
  Context ctx({.num_threads = 1});
  Trainer trainer(ctx, config, TextData(example_text(5000), config.sequence_length), grid);
  take(trainer.model_weights(), weights);
  take(trainer.moments(), state);
  if (!weights.empty()) trainer.restore(steps, 0);
  for (Index i = 0; i < steps; ++i) said.losses.push_back(trainer.step().loss);
  std::vector<Tensor> moments;
  trainer.save([&] {
    said.weights = copies_of(trainer.model_weights());
    moments = copies_of(trainer.moments());
  });
  return moments;
}

TEST(TensorParallel, ARunGoesOnWithOtherProcesses) {
  TrainerConfig config = plain_config();
  config.dtype = Dtype::f64;
  config.batch_blocks = 2;
  Said alone;
  const std::vector<Tensor> half = state_after(config, 3, {}, {}, {}, alone);
  const std::vector<Tensor> weights = alone.weights;
  state_after(config, 3, weights, half, {}, alone);
  // Three steps of four processes, then three of one, and the other way round.
  Said there, back;
  std::vector<Tensor> state;
  const auto four = [&](const std::vector<Tensor>& w, const std::vector<Tensor>& s, Said& said) {
    run_processes(4, [&](std::shared_ptr<Communicator> job) {
      Said own;
      const auto grid = parallel::make_grid(job, {.tensors = 2});
      const std::vector<Tensor> after = state_after(config, 3, w, s, grid, own);
      if (job->rank() != 0) return;
      state = after;
      said.weights = own.weights;
      said.losses.insert(said.losses.end(), own.losses.begin(), own.losses.end());
    });
  };
  four({}, {}, there);
  const std::vector<Tensor> w = there.weights, s = state;
  state_after(config, 3, w, s, {}, there);
  state_after(config, 3, {}, {}, {}, back);
  four(weights, half, back);
  for (std::size_t i = 0; i < 6; ++i) {
    EXPECT_NEAR(there.losses[i], alone.losses[i], 1e-9) << i;
    EXPECT_NEAR(back.losses[i], alone.losses[i], 1e-9) << i;
  }
}

// docs/scale.md's table: four sums a block, and the norms of the gradients.
TEST(TensorParallel, AStepSendsWhatTheDocumentationSays) {
  const TrainerConfig config = plain_config();
  std::atomic<Index> bytes = 0;
  std::atomic<Index> parameters = 0;
  run_processes(2, [&](std::shared_ptr<Communicator> job) {
    Context ctx({.num_threads = 1});
    const parallel::ProcessGrid grid = parallel::make_grid(job, {.tensors = 2});
    Trainer trainer(ctx, config, TextData(example_text(5000), config.sequence_length), grid);
    trainer.step();
    bytes += grid.tensors->bytes_sent();
    parameters = static_cast<Index>(trainer.model().parameters().size());
  });
  const Index activations = config.batch_size * config.sequence_length * config.hidden_size * 4;
  EXPECT_EQ(bytes, config.num_layers * 4 * 2 * activations + 2 * 8 * parameters);
}

TEST(TensorParallel, RefusesSizesThatDoNotFit) {
  const auto error = [](int size, const GridSizes& sizes, const TrainerConfig& config) {
    return error_of<ConfigError>([&] {
      run_processes(size, [&](std::shared_ptr<Communicator> job) {
        said_by(config, 1, parallel::make_grid(job, sizes));
      });
    });
  };
  TrainerConfig config = plain_config();
  EXPECT_EQ(error(4, {.tensors = 4}, config),
            "[train] --tp: expected a divisor of the 2 key/value heads, got 4");
  config.num_heads = config.num_key_value_heads = 3;
  config.hidden_size = 18;
  config.batch_blocks = 2;
  EXPECT_EQ(error(3, {.tensors = 2}, config),
            "[train] --tp: expected a divisor of the number of processes, 3, got 2");
  EXPECT_EQ(error(6, {.sequence = 2, .tensors = 2}, config),
            "[train] --sp times --tp: expected a divisor of the number of processes, 6, got 4");
  EXPECT_EQ(error(6, {.batch = 3, .tensors = 3}, config),
            "[train] --dp: expected 2, as there are 6 processes, got 3");
}

}  // namespace
}  // namespace grouphead
