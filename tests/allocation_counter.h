#pragma once

// Counts every operator new of the program, libraries included. For one source of a test program.
// Not inlined: the compiler would take malloc for a mismatch of delete.

#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <new>

namespace grouphead::testing_support {

struct Allocations {
  long count = 0;
  long bytes = 0;
};

namespace counters {
inline std::atomic<long> count{0};
inline std::atomic<long> bytes{0};

inline void* allocate(std::size_t size, std::size_t alignment) {
  count.fetch_add(1, std::memory_order_relaxed);
  bytes.fetch_add(static_cast<long>(size), std::memory_order_relaxed);
  const std::size_t rounded = (size + alignment - 1) / alignment * alignment;
  void* memory = std::aligned_alloc(alignment, rounded == 0 ? alignment : rounded);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
}  // namespace counters

/// What `run()` asks of operator new.
template <class Run>
Allocations allocations_of(Run&& run) {
  const Allocations before{counters::count, counters::bytes};
  run();
  return {counters::count - before.count, counters::bytes - before.bytes};
}

}  // namespace grouphead::testing_support

[[gnu::noinline]] void* operator new(std::size_t size) {
  return grouphead::testing_support::counters::allocate(size, alignof(std::max_align_t));
}
[[gnu::noinline]] void* operator new(std::size_t size, std::align_val_t alignment) {
  return grouphead::testing_support::counters::allocate(size, static_cast<std::size_t>(alignment));
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::align_val_t) noexcept {
  std::free(memory);
}
[[gnu::noinline]] void operator delete(void* memory, std::size_t, std::align_val_t) noexcept {
  std::free(memory);
}
