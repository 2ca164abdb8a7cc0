#pragma once

// Rows of a product's left operand, brought together where they lie apart.

#include <algorithm>

#include "ops/packed_weights.h"

namespace grouphead::ops {

inline void copy_rows(Index rows, Index columns, const float* from, Index from_stride, float* to,
                      Index to_stride) {
  for (Index r = 0; r < rows; ++r) {
    std::copy_n(from + r * from_stride, columns, to + r * to_stride);
  }
}

/// Rows [first, first + rows) of x [.., depth] one after the other: x itself, or a copy in scratch.
class DenseRows {
 public:
  DenseRows(const SpacedRows& x, Index first, Index rows, Index depth) noexcept
      : from_{x.data + first * x.stride, x.stride}, rows_(rows), depth_(depth) {}
  /// A multiple of 64; 0 where x serves.
  Index scratch_bytes() const noexcept {
    return is_dense() ? 0 : (rows_ * depth_ * Index{sizeof(float)} + 63) / 64 * 64;
  }
  const float* in(void* scratch) const noexcept {
    if (is_dense()) return from_.data;
    copy_rows(rows_, depth_, from_.data, from_.stride, static_cast<float*>(scratch), depth_);
    return static_cast<const float*>(scratch);
  }

 private:
  bool is_dense() const noexcept { return from_.stride == depth_; }
  SpacedRows from_;
  Index rows_, depth_;
};

}  // namespace grouphead::ops
