#include "parallel/process_grid.h"

#include <string>

#include "core/check.h"

namespace grouphead::parallel {

ProcessGrid make_grid(std::shared_ptr<Communicator> job, Index sequence) {
  const Index size = job ? job->size() : 1;
  if (sequence < 1 || size % sequence != 0) {
    core::throw_config_error("train", "--sp",
                             "a divisor of the number of processes, " + std::to_string(size),
                             std::to_string(sequence));
  }
  ProcessGrid grid(std::move(job));
  if (sequence == 1) return grid;
  grid.sequence = grid.job->split(grid.job->rank() % static_cast<int>(size / sequence));
  return grid;
}

}  // namespace grouphead::parallel
