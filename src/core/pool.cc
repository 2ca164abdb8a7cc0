#include "core/pool.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <new>

namespace grouphead::core {
namespace {

constexpr std::size_t kHugePage = std::size_t{2} << 20;
constexpr std::size_t kSmallest = 256;

struct SizeClass {
  std::size_t index;
  std::size_t bytes;
};

// The smallest of 2^e * (8 + i) / 8, i < 8, that holds `bytes`.
SizeClass size_class(std::size_t bytes) noexcept {
  bytes = std::max(bytes, kSmallest);
  const auto e = static_cast<std::size_t>(std::bit_width(bytes - 1)) - 1;
  const std::size_t step = (std::size_t{1} << e) / 8;
  const std::size_t steps = (bytes - (std::size_t{1} << e) + step - 1) / step;  // 1 .. 8
  return {8 * e + steps - 1, (std::size_t{1} << e) + steps * step};
}

std::size_t alignment_of(std::size_t bytes) noexcept {
  return bytes >= kHugePage ? kHugePage : alignof(Storage);
}

Storage* new_block(std::size_t bytes, Allocator* allocator) {
  const std::size_t alignment = alignment_of(bytes);
  void* memory = nullptr;
  if (allocator != nullptr) {
    memory = allocator->allocate(bytes, alignment);
  } else {
    memory = ::operator new (bytes, std::align_val_t{alignment});
    if (bytes >= kHugePage) madvise(memory, bytes, MADV_HUGEPAGE);
  }
  auto* storage = new (memory) Storage;
  storage->bytes = bytes;
  return storage;
}

void delete_block(Storage* storage, Allocator* allocator) noexcept {
  const std::size_t bytes = storage->bytes;
  const std::size_t alignment = alignment_of(bytes);
  storage->~Storage();
  if (allocator != nullptr) {
    allocator->deallocate(storage, bytes, alignment);
  } else {
    ::operator delete (storage, std::align_val_t{alignment});
  }
}

}  // namespace

Storage* allocate_storage(std::size_t bytes) { return new_block(sizeof(Storage) + bytes, nullptr); }

void release_storage(Storage* storage) noexcept {
  if (storage == nullptr || storage->references.fetch_sub(1, std::memory_order_acq_rel) != 1) {
    return;
  }
  if (storage->pool != nullptr) {
    storage->pool->give_back(storage);
  } else {
    delete_block(storage, nullptr);
  }
}

void Pool::release() noexcept {
  if (references_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
}

Storage* Pool::take(std::size_t bytes) {
  const SizeClass wanted = size_class(sizeof(Storage) + bytes);
  const std::lock_guard lock(mutex_);
  Storage*& head = free_[wanted.index];
  Storage* storage = head;
  if (storage != nullptr) {
    head = storage->next;
    storage->references.store(1, std::memory_order_relaxed);
  } else {
    storage = new_block(wanted.bytes, allocator_.get());
    storage->pool = this;
    stats_.reserved_bytes += static_cast<Index>(wanted.bytes);
  }
  retain();
  stats_.in_use_bytes += static_cast<Index>(wanted.bytes);
  stats_.peak_bytes = std::max(stats_.peak_bytes, stats_.in_use_bytes);
  return storage;
}

void Pool::give_back(Storage* storage) noexcept {
  {
    const std::lock_guard lock(mutex_);
    stats_.in_use_bytes -= static_cast<Index>(storage->bytes);
    Storage*& head = free_[size_class(storage->bytes).index];
    storage->next = head;
    head = storage;
  }
  release();
}

MemoryStats Pool::stats() const noexcept {
  const std::lock_guard lock(mutex_);
  return stats_;
}

void Pool::reset_peak() noexcept {
  const std::lock_guard lock(mutex_);
  stats_.peak_bytes = stats_.in_use_bytes;
}

void Pool::release_unused() noexcept {
  const std::lock_guard lock(mutex_);
  for (Storage*& head : free_) {
    while (head != nullptr) {
      Storage* storage = head;
      head = storage->next;
      stats_.reserved_bytes -= static_cast<Index>(storage->bytes);
      delete_block(storage, allocator_.get());
    }
  }
}

}  // namespace grouphead::core
