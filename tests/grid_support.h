#pragma once

// Language models that the processes of a grid train, as threads here.

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "thread_communicator.h"
#include "training_support.h"

namespace grouphead::testing_support {

inline TrainerConfig plain_config() {
  TrainerConfig config = tiny_config();
  config.dropout = 0;
  config.batch_size = 4;
  config.sequence_length = 48;
  config.steps = 50;
  return config;
}

/// What a training says.
struct Said {
  std::vector<double> losses, norms;
  double validation = 0;
  std::vector<Tensor> weights;
};

inline Said said_by(const TrainerConfig& config, Index steps, const parallel::ProcessGrid& grid) {
  Context ctx({.num_threads = 1});
  Trainer trainer(ctx, config, TextData(example_text(5000), config.sequence_length), grid);
  Said said;
  for (Index i = 0; i < steps; ++i) {
    const auto step = trainer.step();
    said.losses.push_back(step.loss);
    said.norms.push_back(step.gradient_norm);
  }
  said.validation = trainer.validate();
  const auto keep_weights = [&] {
    for (const auto& weight : trainer.model_weights())
      said.weights.push_back(weight.read().clone());
  };
  // Of tensors that are shared out, the first process has the whole ones while they are saved.
  trainer.has_whole_tensors() ? keep_weights() : trainer.save(keep_weights);
  return said;
}

inline std::vector<Said> said_together(int size, const parallel::GridSizes& sizes,
                                       TrainerConfig config, Index steps) {
  config.batch_blocks = size / (sizes.sequence * sizes.tensors);
  std::vector<Said> all(static_cast<std::size_t>(size));
  run_processes(size, [&](std::shared_ptr<Communicator> job) {
    const auto rank = static_cast<std::size_t>(job->rank());
    all[rank] = said_by(config, steps, parallel::make_grid(job, sizes));
  });
  return all;
}

inline void expect_near(const Said& got, const Said& want, const std::string& what) {
  ASSERT_EQ(got.losses.size(), want.losses.size());
  for (std::size_t i = 0; i < want.losses.size(); ++i) {
    EXPECT_NEAR(got.losses[i], want.losses[i], 1e-5 * want.losses[i]) << what << ", step " << i;
    EXPECT_NEAR(got.norms[i], want.norms[i], 1e-3 * want.norms[i]) << what << ", step " << i;
  }
  EXPECT_NEAR(got.validation, want.validation, 1e-5 * want.validation) << what;
}

}  // namespace grouphead::testing_support
