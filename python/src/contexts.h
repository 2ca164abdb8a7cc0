#pragma once

#include <memory>

#include "grouphead/core/context.h"

namespace grouphead::python {

/// A Context for one call: an idle one, or a new one where other threads have all. The child of a
/// fork() gets Contexts of one thread, since oneTBB's threads stay with its parent.
class ContextLease {
 public:
  ContextLease();
  ~ContextLease();
  ContextLease(const ContextLease&) = delete;
  ContextLease& operator=(const ContextLease&) = delete;
  Context& operator*() const noexcept { return *context_; }

 private:
  std::unique_ptr<Context> context_;
  int generation_;
};

/// Of the calls to come. Errors: ConfigError below 0; 0: one for each core.
void set_num_threads(int num_threads);
int num_threads();

}  // namespace grouphead::python
