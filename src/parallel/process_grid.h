#pragma once

#include <memory>
#include <utility>

#include "grouphead/parallel/communicator.h"

namespace grouphead::parallel {

/// The processes of a job in a grid: process (s, d), the s-th of those that share out a sequence
/// and the d-th of those that share out a batch, is s D + d. So the parts of all sequences, and
/// within them the blocks of the batch, are in the order of the ranks, as batch_blocks.h wants it.
struct ProcessGrid {
  std::shared_ptr<Communicator> job;       ///< all of them; null: this one alone
  std::shared_ptr<Communicator> sequence;  ///< those of one d; null: sequences are whole

  ProcessGrid(std::shared_ptr<Communicator> all = {},  // NOLINT(google-explicit-constructor)
              std::shared_ptr<Communicator> of_sequence = {})
      : job(std::move(all)), sequence(std::move(of_sequence)) {}

  /// Processes that share out a batch, D.
  int batch_size() const noexcept {
    return job ? job->size() / (sequence ? sequence->size() : 1) : 1;
  }
};

/// `sequence`: processes for each sequence. Errors: ConfigError where it does not divide the job.
ProcessGrid make_grid(std::shared_ptr<Communicator> job, Index sequence);

}  // namespace grouphead::parallel
