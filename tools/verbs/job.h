#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "grouphead/parallel/communicator.h"
#include "saved/run_config.h"

namespace grouphead::tools {

/// The processes that mpirun started this one with. All do the same; the first one alone writes
/// files and says what there is to say.
class Job {
 public:
  /// Joins them. `verb` is for messages. Errors: ConfigError where mpirun started a program that
  /// was built without MPI.
  explicit Job(std::string verb);
  ~Job();
  Job(const Job&) = delete;
  Job& operator=(const Job&) = delete;

  /// Null without mpirun.
  const std::shared_ptr<Communicator>& communicator() const noexcept { return communicator_; }
  bool is_first() const noexcept { return !communicator_ || communicator_->rank() == 0; }
  /// Whether mpirun started several.
  bool is_shared() const noexcept { return communicator_ && communicator_->size() > 1; }

  /// work()'s exit code. An error of one process ends all, with a message that names it.
  int run(const std::function<int()>& work);
  /// Errors: ConfigError in every process for a setting that is not the first one's; it names the
  /// process and the setting. An empty value is as good as any.
  void require_same(const std::vector<saved::Setting>& settings) const;
  /// Of the first process.
  std::string broadcast(const std::string& text) const;
  /// Whether a signal asked any process to stop, and the exit code for it.
  bool stop_requested() const;
  int exit_code_of_signal() const;

 private:
  std::string verb_;
  std::shared_ptr<Communicator> communicator_;
};

}  // namespace grouphead::tools
