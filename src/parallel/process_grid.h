#pragma once

#include <memory>
#include <utility>

#include "grouphead/parallel/communicator.h"

namespace grouphead::parallel {

/// Processes along each axis of a grid.
struct GridSizes {
  Index batch = 0;     ///< 0: as many as there are
  Index sequence = 1;  ///< that share out the positions of each sequence
  Index tensors = 1;   ///< that share out heads and columns
};

/// The processes of a job in a grid: process (s, d, t), the s-th of S that share out a sequence,
/// the d-th of D that share out a batch and the t-th of T that share out tensors, is (s D + d) T +
/// t. So neighbours share tensors, which takes the most messages; and the parts of all sequences,
/// and within them the blocks of the batch, are in the order of the ranks, as batch_blocks.h wants
/// it.
struct ProcessGrid {
  std::shared_ptr<Communicator> job;       ///< all of them; null: this one alone
  std::shared_ptr<Communicator> data;      ///< those of one t, s D + d; null: this one alone
  std::shared_ptr<Communicator> sequence;  ///< those of one d and t; null: sequences are whole
  std::shared_ptr<Communicator> tensors;   ///< those of one s and d; null: tensors are whole

  /// A job that shares out the batch alone.
  ProcessGrid(std::shared_ptr<Communicator> all = {})  // NOLINT(google-explicit-constructor)
      : job(std::move(all)), data(job) {}

  /// Processes that share out a batch, D.
  int batch_size() const noexcept {
    return data ? data->size() / (sequence ? sequence->size() : 1) : 1;
  }
};

/// Errors: ConfigError where the sizes do not make up the job.
ProcessGrid make_grid(std::shared_ptr<Communicator> job, const GridSizes& sizes);

}  // namespace grouphead::parallel
