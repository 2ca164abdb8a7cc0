#include "parallel/process_grid.h"

#include <string>

#include "core/check.h"

namespace grouphead::parallel {

ProcessGrid make_grid(std::shared_ptr<Communicator> job, const GridSizes& sizes) {
  const Index size = job ? job->size() : 1;
  const Index inner = sizes.sequence * sizes.tensors;
  if (size % inner != 0) {
    core::throw_config_error("train",
                             sizes.tensors == 1    ? "--sp"
                             : sizes.sequence == 1 ? "--tp"
                                                   : "--sp times --tp",
                             "a divisor of the number of processes, " + std::to_string(size),
                             std::to_string(inner));
  }
  if (sizes.batch != 0 && sizes.batch != size / inner) {
    core::throw_config_error(
        "train", "--dp",
        std::to_string(size / inner) + ", as there are " + std::to_string(size) + " processes",
        std::to_string(sizes.batch));
  }
  ProcessGrid grid(std::move(job));
  if (sizes.tensors > 1) {
    const int rank = grid.job->rank();
    const int tensors = static_cast<int>(sizes.tensors);
    grid.tensors = grid.job->split(rank / tensors);
    grid.data = grid.job->split(rank % tensors);
  }
  if (sizes.sequence > 1) {
    grid.sequence = grid.data->split(grid.data->rank() % static_cast<int>(size / inner));
  }
  return grid;
}

}  // namespace grouphead::parallel
