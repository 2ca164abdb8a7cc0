#include "tools/verbs/job.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <exception>

#include "grouphead/core/error.h"
#include "tools/output.h"
#include "tools/signals.h"
#include "tools/verbs.h"
#ifdef GROUPHEAD_HAS_MPI
#include "grouphead/parallel/mpi.h"
#endif

namespace grouphead::tools {
namespace {

/// An error that every process throws.
class CommonError final : public ConfigError {
 public:
  using ConfigError::ConfigError;
};

/// What Open MPI, MPICH and those like it, and Slurm by PMIx give their processes.
bool is_started_by_mpirun() {
  for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PMIX_RANK"}) {
    if (std::getenv(name) != nullptr) return true;
  }
  return false;
}

}  // namespace

Job::Job(std::string verb) : verb_(std::move(verb)) {
  if (!is_started_by_mpirun()) return;
#ifdef GROUPHEAD_HAS_MPI
  communicator_ = mpi_world();
#else
  throw ConfigError(fmt::format(
      "[{}] mpirun: expected a program built with GROUPHEAD_MPI=ON, got one without", verb_));
#endif
}

Job::~Job() = default;

int Job::run(const std::function<int()>& work) {
  if (!is_shared()) return work();
  std::string text;
  bool is_common = false;
  try {
    return work();
  } catch (const CommonError& error) {
    text = error.what();
    is_common = true;
  } catch (const std::exception& error) {
    text = error.what();
  }
  if (is_common) {
    if (is_first()) print_err("grouphead: {}\n", text);
    communicator_->barrier();
  } else {
    print_err("grouphead: process {} of {}: {}\n", communicator_->rank(), communicator_->size(),
              text);
  }
  communicator_->abort(kBadInput);
  return kBadInput;
}

void Job::require_same(const std::vector<saved::Setting>& settings) const {
  if (!is_shared()) return;
  // A gathered text is cut at 0 bytes, which no setting has.
  std::string own;
  for (const saved::Setting& setting : settings) own += setting.value + '\0';
  const std::vector<std::string> all = communicator_->all_gather(own);
  for (std::size_t rank = 1; rank < all.size(); ++rank) {
    std::size_t at = 0;
    std::size_t first_at = 0;
    for (const saved::Setting& setting : settings) {
      const std::string other = all[rank].c_str() + at;
      const std::string first = all[0].c_str() + first_at;
      at = std::min(at + other.size() + 1, all[rank].size());
      first_at = std::min(first_at + first.size() + 1, all[0].size());
      if (other == first || other.empty() || first.empty()) continue;
      throw CommonError(fmt::format("[{}] {}: process 0 has {}, process {} has {}", verb_,
                                    setting.name, first, rank, other));
    }
  }
}

std::string Job::broadcast(const std::string& text) const {
  return is_shared() ? communicator_->broadcast(text, 0) : text;
}

bool Job::stop_requested() const {
  const bool own = tools::stop_requested();
  return is_shared() ? communicator_->any(own) : own;
}

int Job::exit_code_of_signal() const {
  const int own = tools::exit_code_of_signal();
  if (!is_shared()) return own;
  const std::vector<double> all = communicator_->all_gather(static_cast<double>(own));
  return static_cast<int>(*std::max_element(all.begin(), all.end()));
}

}  // namespace grouphead::tools
