#pragma once

#include <tbb/task_arena.h>

#include <memory>
#include <optional>
#include <type_traits>
#include <vector>

#include "core/pool.h"
#include "grouphead/core/context.h"

namespace grouphead::core {

/// What a room above keeps with a Context, such as compiled products; core only owns it.
struct Attachment {
  virtual ~Attachment() = default;
};

/// What a Context holds. Work is cut by shape into units that own their outputs; threads draw units
/// from one counter, so a slow core delays nobody and results do not depend on who ran what.
class ContextImpl {
 public:
  ContextImpl(int num_threads, Isa isa, const ContextOptions& options);
  ~ContextImpl();
  ContextImpl(const ContextImpl&) = delete;
  ContextImpl& operator=(const ContextImpl&) = delete;

  int num_threads() const noexcept { return num_threads_; }
  Isa isa() const noexcept { return isa_; }
  Pool& pool() noexcept { return *pool_; }
  /// Of the matrix products; empty until their first use.
  std::unique_ptr<Attachment>& attachment() noexcept { return attachment_; }

  /// body(unit, slot) for every unit in [0, units); slot < num_threads() names the running thread.
  /// Units start in ascending order. Blocks until all are done.
  template <class Body>
  void parallel_for(Index units, Body&& body) {
    using Called = std::remove_reference_t<Body>;
    run(
        units, [](void* b, Index unit, int slot) { (*static_cast<Called*>(b))(unit, slot); },
        const_cast<void*>(static_cast<const void*>(&body)));
  }

  /// At least `bytes` of memory for the thread in `slot`, 64-byte aligned, uninitialised; valid
  /// until the next call for this slot. Grows, then is reused.
  void* scratch(int slot, Index bytes);
  template <class F>
  F* scratch(int slot, Index count) {
    return static_cast<F*>(scratch(slot, count * static_cast<Index>(sizeof(F))));
  }

 private:
  void run(Index units, void (*call)(void*, Index, int), void* body);

  int num_threads_;
  Isa isa_;
  Pool* pool_;
  std::vector<Tensor> scratch_;  // one per slot
  std::unique_ptr<Attachment> attachment_;
  std::shared_ptr<Executor> executor_;
  std::optional<tbb::task_arena> arena_;  // absent with an executor
};

}  // namespace grouphead::core
