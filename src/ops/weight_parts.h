#pragma once

// Weights as somebody else keeps them, a mapped file for example: in 16 bits, or transposed.

#include "ops/packed_weights.h"

namespace grouphead::ops {

/// A matrix of `count` floating-point numbers, aligned to their type, one of whose strides is 1,
/// the other not smaller than a line. Errors: ShapeError.
void require_weights(std::string_view operation, std::string_view operand, const ConstView& matrix,
                     Index count);

/// to = the matrix row by row, converted. Shapes: `to` as many elements, contiguous, of any
/// floating type.
void copy_weights(ConstView matrix, View to);

/// Some columns of weights in f32: element (d, c) is data[d * row_stride + c * column_stride].
struct WeightColumns {
  const float* data;
  Index row_stride, column_stride;
};

/// Columns of weights, part by part: as they lie where they are f32, else widened into scratch
/// memory of the thread that asks. All parts of a width have the same strides.
class WeightParts {
 public:
  /// Parts of `width` columns at most. `w` outlives this.
  WeightParts(const Weights& w, Index width);

  Index row_stride() const noexcept { return row_stride_; }
  Index column_stride() const noexcept { return column_stride_; }
  /// Of the scratch memory that one part takes; 0 for f32.
  Index scratch_bytes() const noexcept;
  /// Columns [first, first + count).
  WeightColumns part(kernels::Level level, Index first, Index count, void* scratch) const;

 private:
  bool is_wide() const noexcept { return w_.dtype == Dtype::f32; }

  const Weights& w_;
  Index width_;
  Index row_stride_, column_stride_;  // of a part
};

}  // namespace grouphead::ops
