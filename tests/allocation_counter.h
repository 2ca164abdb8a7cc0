#pragma once

// Counts every operator new of the program, libraries included, where allocation_counter.cc is in
// it.

namespace grouphead::testing_support {

struct Allocations {
  long count = 0;
  long bytes = 0;
};

/// All since the program's start.
Allocations allocations();

/// Bytes that are allocated and not freed, and the most of them since the last call of it.
long live_bytes();
long take_peak_bytes();

/// The allocation after `more` further ones fails, once.
void fail_allocation(long more);

/// What `run()` asks of operator new.
template <class Run>
Allocations allocations_of(Run&& run) {
  const Allocations before = allocations();
  run();
  const Allocations after = allocations();
  return {after.count - before.count, after.bytes - before.bytes};
}

}  // namespace grouphead::testing_support
