#include "ops/weight_parts.h"

#include <algorithm>
#include <bit>
#include <cstdint>

#include "core/check.h"
#include "kernels/rowwise/convert.h"
#include "ops/floating.h"

namespace grouphead::ops {
namespace {

void widen(kernels::Level level, const void* from, Dtype dtype, Index count, float* to) {
  if (dtype == Dtype::bf16) {
    return kernels::convert_kernels(level).widen(static_cast<const std::uint16_t*>(from), count,
                                                 to);
  }
  const auto* const halves = static_cast<const F16*>(from);
  for (Index i = 0; i < count; ++i) to[i] = to_float(halves[i]);
}

template <class From, class To>
void copy_transposed(const From* from, Index stride, Index rows, Index columns, To* to) {
  // In blocks, so that whole lines of the cache are read and written.
  constexpr Index kBlock = 32;
  for (Index first = 0; first < columns; first += kBlock) {
    const Index last = std::min(columns, first + kBlock);
    for (Index r = 0; r < rows; ++r) {
      for (Index c = first; c < last; ++c) {
        to[r * columns + c] = narrowed<To>(widened(from[c * stride + r]));
      }
    }
  }
}

}  // namespace

void require_weights(std::string_view operation, std::string_view operand, const ConstView& matrix,
                     Index count) {
  core::require_shape(operation, operand, matrix, {-1, -1});
  with_floating(operation, operand, matrix.dtype(), [](auto /*type*/) {});
  if (matrix.size() != count) {
    core::throw_shape_error(operation, operand, std::to_string(count) + " elements",
                            matrix.shape().to_string());
  }
  const auto width = static_cast<std::uintptr_t>(size_of(matrix.dtype()));
  if (std::bit_cast<std::uintptr_t>(matrix.raw()) % width != 0) {
    core::throw_shape_error(operation, operand, "an address of whole elements", "another");
  }
  const bool has_rows = matrix.stride(1) == 1 && matrix.stride(0) >= matrix.dim(1);
  const bool has_columns = matrix.stride(0) == 1 && matrix.stride(1) >= matrix.dim(0);
  if (has_rows || has_columns) return;
  core::throw_shape_error(operation, operand, "rows or columns of neighbouring elements",
                          "other strides");
}

void copy_weights(ConstView matrix, View to) {
  const Index rows = matrix.dim(0);
  const Index columns = matrix.dim(1);
  with_floating("copy_weights", "matrix", matrix.dtype(), [&](auto source) {
    with_floating("copy_weights", "to", to.dtype(), [&](auto target) {
      using To = decltype(target);
      const auto* const from = matrix.data<decltype(source)>();
      To* const out = to.data<To>();
      if (matrix.stride(1) != 1) {
        return copy_transposed(from, matrix.stride(1), rows, columns, out);
      }
      for (Index r = 0; r < rows; ++r) {
        for (Index c = 0; c < columns; ++c) {
          out[r * columns + c] = narrowed<To>(widened(from[r * matrix.stride(0) + c]));
        }
      }
    });
  });
}

WeightParts::WeightParts(const Weights& w, Index width)
    : w_(w), width_(width), row_stride_(w.row_stride), column_stride_(w.column_stride) {
  if (is_wide()) return;
  if (column_stride_ == 1) {
    row_stride_ = width;
  } else {
    column_stride_ = w.depth;
  }
}

Index WeightParts::scratch_bytes() const noexcept {
  return is_wide() ? 0 : width_ * w_.depth * static_cast<Index>(sizeof(float));
}

WeightColumns WeightParts::part(kernels::Level level, Index first, Index count,
                                void* scratch) const {
  const auto* const from =
      static_cast<const std::byte*>(w_.data) + first * w_.column_stride * size_of(w_.dtype);
  if (is_wide()) return {reinterpret_cast<const float*>(from), row_stride_, column_stride_};
  auto* const to = static_cast<float*>(scratch);
  const bool has_rows = w_.column_stride == 1;
  const Index lines = has_rows ? w_.depth : count;
  const Index apart = (has_rows ? w_.row_stride : w_.column_stride) * size_of(w_.dtype);
  for (Index i = 0; i < lines; ++i) {
    widen(level, from + i * apart, w_.dtype, has_rows ? count : w_.depth,
          to + i * (has_rows ? row_stride_ : column_stride_));
  }
  return {to, row_stride_, column_stride_};
}

}  // namespace grouphead::ops
