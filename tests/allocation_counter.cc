#include "allocation_counter.h"

#include <malloc.h>

#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <new>

namespace grouphead::testing_support {
namespace {

std::atomic<long> count{0};
std::atomic<long> bytes{0};
std::atomic<long> live{0};
std::atomic<long> peak{0};
std::atomic<long> until_failure{-1};

void* allocate(std::size_t size, std::size_t alignment) {
  if (until_failure >= 0 && until_failure-- == 0) throw std::bad_alloc();
  count.fetch_add(1, std::memory_order_relaxed);
  bytes.fetch_add(static_cast<long>(size), std::memory_order_relaxed);
  const std::size_t rounded = (size + alignment - 1) / alignment * alignment;
  void* memory = std::aligned_alloc(alignment, rounded == 0 ? alignment : rounded);
  if (memory == nullptr) throw std::bad_alloc();
  const auto usable = static_cast<long>(malloc_usable_size(memory));
  const long now = live.fetch_add(usable, std::memory_order_relaxed) + usable;
  for (long most = peak; now > most && !peak.compare_exchange_weak(most, now);) {
  }
  return memory;
}

void release(void* memory) {
  live.fetch_sub(static_cast<long>(malloc_usable_size(memory)), std::memory_order_relaxed);
  std::free(memory);
}

}  // namespace

Allocations allocations() { return {count, bytes}; }

long live_bytes() { return live; }

long take_peak_bytes() { return peak.exchange(live); }

void fail_allocation(long more) { until_failure = more; }

}  // namespace grouphead::testing_support

// Not inlined: the compiler would take malloc for a mismatch of delete.
[[gnu::noinline]] void* operator new(std::size_t size) {
  return grouphead::testing_support::allocate(size, alignof(std::max_align_t));
}
[[gnu::noinline]] void* operator new(std::size_t size, std::align_val_t alignment) {
  return grouphead::testing_support::allocate(size, static_cast<std::size_t>(alignment));
}
// Of std::stable_sort's buffer, for example.
[[gnu::noinline]] void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  try {
    return operator new(size);
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}
[[gnu::noinline]] void operator delete(void* memory) noexcept {
  grouphead::testing_support::release(memory);
}
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept {
  grouphead::testing_support::release(memory);
}
[[gnu::noinline]] void operator delete(void* memory, std::align_val_t) noexcept {
  grouphead::testing_support::release(memory);
}
[[gnu::noinline]] void operator delete(void* memory, std::size_t, std::align_val_t) noexcept {
  grouphead::testing_support::release(memory);
}
