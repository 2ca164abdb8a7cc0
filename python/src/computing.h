#pragma once

#include <nanobind/nanobind.h>

#include <mutex>

#include "contexts.h"

namespace grouphead::python {

/// The right to compute with models, or to change one, for as long as it lives: one thread has it
/// at a time, and any number of times. It lets go of Python's lock.
class Computing {
 public:
  Computing();
  Context& context() const noexcept { return *lease_; }
  /// Lets other threads that wait go first. Without Python's lock only.
  void give_way();

 private:
  nanobind::gil_scoped_release released_;
  std::unique_lock<std::recursive_mutex> lock_;
  ContextLease lease_;
};

}  // namespace grouphead::python
