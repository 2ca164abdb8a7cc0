#pragma once

#include <utility>

#include "grouphead/parallel/communicator.h"

namespace grouphead::parallel {

/// Processes that layers find in this thread while a scope lives. `Tag` tells for what.
template <class Tag>
class JobScope {
 public:
  /// `job` lives as long as what is made or called meanwhile. Null: there are none.
  explicit JobScope(Communicator* job) noexcept : before_(std::exchange(current_, job)) {}
  ~JobScope() { current_ = before_; }
  JobScope(const JobScope&) = delete;
  JobScope& operator=(const JobScope&) = delete;

  /// Those of the innermost scope of this thread, or null.
  static Communicator* current() noexcept { return current_; }

 private:
  inline static thread_local Communicator* current_ = nullptr;
  Communicator* before_;
};

}  // namespace grouphead::parallel
