#pragma once

// What the ways of computing a product share: ops/onednn.h and ops/packed_gemm.h.

#include <array>
#include <atomic>
#include <iterator>
#include <mutex>

#include "kernels/cpu/level.h"
#include "ops/linear.h"

namespace grouphead::ops {

/// Which product a copy is for.
enum class Pass : std::uint8_t { forward, backward };

struct PackedWeights::Impl {
  /// The copy for `pass` in the form numbered `form`, of `bytes` bytes, made by make(pointer) when
  /// there is none. Concurrent callers wait for the first; afterwards the cost is one load.
  template <class Make>
  const void* get(Pass pass, std::size_t form, Index bytes, Make&& make) {
    Copy& copy = copies[form][static_cast<std::size_t>(pass)];
    if (copy.bytes.load(std::memory_order_acquire) == bytes) return copy.memory.view().raw();
    const std::lock_guard lock(mutex);
    if (copy.bytes.load(std::memory_order_relaxed) != bytes) {
      if (!copy.memory.has_value() || copy.memory.bytes() < bytes) {
        copy.memory = Tensor();
        copy.memory = Tensor({bytes}, Dtype::u8);
      }
      make(copy.memory.view().raw());
      copy.bytes.store(bytes, std::memory_order_release);
    }
    return copy.memory.view().raw();
  }

  void invalidate() noexcept {
    for (auto& form : copies) {
      for (Copy& copy : form) copy.bytes.store(kStale, std::memory_order_release);
    }
  }

  Dtype kept_as = Dtype::f32;

  static constexpr std::size_t kForms =
      std::size(kernels::kLevels) + 2;  // also bf16_gemm's, oneDNN's
  static constexpr Index kStale = -1;

 private:
  struct Copy {
    std::atomic<Index> bytes{kStale};
    Tensor memory;
  };

  std::mutex mutex;
  std::array<std::array<Copy, 2>, kForms> copies;
};

/// Rows of x and d_y that one sum of a weight or bias gradient covers before it is added.
inline constexpr Index kGradientRows = 512;

/// The left operand of a product: rows [depth], `stride` >= depth elements apart.
struct SpacedRows {
  const float* data;
  Index stride;
};

/// Weights [depth, columns] of a product, in f32, or in bf16 or f16 where they are packed: element
/// (d, c) is data[d * row_stride + c * column_stride], and one of the strides is 1. `packed` keeps
/// the copy; null: used once.
struct Weights {
  const void* data;
  Index depth, columns;
  Index row_stride, column_stride;
  PackedWeights* packed;
  Pass pass;
  Dtype dtype = Dtype::f32;

  const float* floats() const noexcept { return static_cast<const float*>(data); }
};

/// What happens to a product's sums.
struct Finish {
  const float* bias;  // [columns] or null
  Epilogue epilogue;
  Write write;
};

}  // namespace grouphead::ops
