#pragma once

#include <nanobind/nanobind.h>

#include <mutex>
#include <optional>

#include "contexts.h"

namespace grouphead::python {

/// The right to compute with models, or to change one, for as long as it lives: one thread has it
/// at a time. It lets go of Python's lock.
class Computing {
 public:
  Computing();
  ~Computing();
  Computing(const Computing&) = delete;
  Computing& operator=(const Computing&) = delete;
  Context& context() const noexcept { return *lease_; }

 private:
  friend class PythonsTurn;
  nanobind::gil_scoped_release released_;
  std::unique_lock<std::mutex> lock_;
  ContextLease lease_;
};

/// Python's turn inside a Computing of this thread, such as a callback's: it has Python's lock, and
/// other threads may compute, or this one anew.
class PythonsTurn {
 public:
  PythonsTurn();
  ~PythonsTurn();
  PythonsTurn(const PythonsTurn&) = delete;
  PythonsTurn& operator=(const PythonsTurn&) = delete;

 private:
  Computing* computing_;
  std::optional<nanobind::gil_scoped_acquire> gil_;
};

}  // namespace grouphead::python
