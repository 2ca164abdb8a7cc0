#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <memory>
#include <mutex>

#include "grouphead/core/context.h"

namespace grouphead::core {

/// Header of a block of elements; the elements follow it, or belong to `owner`. One reference per
/// Tensor.
struct alignas(64) Storage {
  std::atomic<int> references{1};
  Pool* pool = nullptr;     // null: from the heap, back to the heap
  std::size_t bytes = 0;    // of the whole block, header included
  Storage* next = nullptr;  // while the block waits in the pool
  std::shared_ptr<const void> owner{};

  void* elements() noexcept { return this + 1; }
};

/// `bytes` of elements on the heap.
Storage* allocate_storage(std::size_t bytes);
void release_storage(Storage* storage) noexcept;

/// Blocks for reuse, by size class (eight classes per power of two, so at most 1/8 is wasted).
/// Large blocks start at huge-page boundaries. Thread-safe; lives as long as its blocks, and so
/// does the allocator that they come from.
class Pool {
 public:
  static Pool* create(std::shared_ptr<Allocator> allocator) {
    return new Pool(std::move(allocator));
  }
  void retain() noexcept { references_.fetch_add(1, std::memory_order_relaxed); }
  void release() noexcept;

  Storage* take(std::size_t bytes);
  void give_back(Storage* storage) noexcept;

  MemoryStats stats() const noexcept;
  void reset_peak() noexcept;
  void release_unused() noexcept;

 private:
  explicit Pool(std::shared_ptr<Allocator> allocator) : allocator_(std::move(allocator)) {}
  ~Pool() { release_unused(); }

  static constexpr std::size_t kClasses = 8 * 48;

  std::shared_ptr<Allocator> allocator_;  // null: operator new
  mutable std::mutex mutex_;
  std::array<Storage*, kClasses> free_{};
  MemoryStats stats_;
  std::atomic<Index> references_{1};
};

}  // namespace grouphead::core
