#pragma once

// What operations on rows and elements share: the choice of kernels, checks, and the cut into
// blocks.

#include <algorithm>
#include <string>
#include <string_view>

#include "core/check.h"
#include "core/context_impl.h"
#include "core/rows.h"
#include "grouphead/core/context.h"
#include "kernels/rowwise/rowwise.h"

namespace grouphead::ops {

template <class F>
const kernels::RowwiseKernels<F>& rowwise_kernels(Context& ctx) noexcept {
  return kernels::rowwise_kernels<F>(static_cast<kernels::Level>(ctx.impl().isa()));
}

/// body(F{}) for the float type of `view`. Errors: ShapeError for other types.
template <class Body>
void with_float_type(std::string_view operation, std::string_view operand, const ConstView& view,
                     Body&& body) {
  if (view.dtype() == Dtype::f32) return body(float{});
  if (view.dtype() == Dtype::f64) return body(double{});
  core::throw_shape_error(operation, operand, "f32 or f64", name_of(view.dtype()));
}

/// Present, contiguous, `count` elements of this type in any shape.
inline void require_elements(std::string_view operation, std::string_view operand,
                             const ConstView& view, Index count, Dtype dtype) {
  if (!view.has_value() || view.size() != count) {
    core::throw_shape_error(operation, operand, std::to_string(count) + " elements",
                            view.has_value() ? view.shape().to_string() : "nothing");
  }
  core::require_dtype(operation, operand, view, dtype);
  core::require_contiguous(operation, operand, view);
}

/// Indices (i32) inside [0, limit): tokens and labels.
inline void require_indices(std::string_view operation, std::string_view operand,
                            const ConstView& view, Index limit) {
  const auto* values = view.data<std::int32_t>();
  for (Index i = 0; i < view.size(); ++i) {
    if (values[i] < 0 || values[i] >= limit) {
      core::throw_shape_error(operation, operand, "indices below " + std::to_string(limit),
                              std::to_string(values[i]) + " at " + std::to_string(i));
    }
  }
}

/// Like require_elements, but an absent operand is fine. Its elements, or null.
template <class F>
F* optional_elements(std::string_view operation, std::string_view operand, const View& view,
                     Index count) {
  if (!view.has_value()) return nullptr;
  require_elements(operation, operand, view, count, kDtypeOf<F>);
  return view.data<F>();
}

/// Rows and their length, of a tensor of rank 1 or more seen as a matrix.
struct Rows {
  Index count;
  Index width;
};
inline Rows rows_of(std::string_view operation, std::string_view operand, const ConstView& view) {
  if (!view.has_value() || view.rank() < 1) {
    core::throw_shape_error(operation, operand, "rank 1 or more",
                            view.has_value() ? view.shape().to_string() : "nothing");
  }
  core::require_contiguous(operation, operand, view);
  const Index width = view.shape().back();
  return {width == 0 ? 0 : view.size() / width, width};
}

/// The same of a matrix whose rows may lie apart too: core::row_stride().
inline Rows spaced_rows_of(std::string_view operation, std::string_view operand,
                           const ConstView& view) {
  if (!core::has_spaced_rows(view) || view.rank() != 2) return rows_of(operation, operand, view);
  return {view.dim(0), view.dim(1)};
}

/// Elements of one unit of work: 64 KiB of f32 stay in L2, and a decode step's few thousand
/// elements are one unit, which runs on the calling thread.
inline constexpr Index kBlockElements = 16384;

inline Index num_blocks(Index count, Index block) noexcept { return (count + block - 1) / block; }

/// body(begin, end) for consecutive blocks of [0, count).
template <class Body>
void for_blocks(Context& ctx, Index count, Index block, Body&& body) {
  ctx.impl().parallel_for(num_blocks(count, block), [&](Index unit, int) {
    body(unit * block, std::min(count, (unit + 1) * block));
  });
}

/// As many whole rows as fit in kBlockElements.
inline Index rows_per_block(const Rows& rows) noexcept {
  return std::max<Index>(1, kBlockElements / std::max<Index>(1, rows.width));
}

template <class Body>
void for_row_blocks(Context& ctx, const Rows& rows, Body&& body) {
  for_blocks(ctx, rows.count, rows_per_block(rows), body);
}

/// The sum of part(begin, end) over consecutive blocks of [0, count), added in ascending order.
template <class Part>
double sum_of_blocks(Context& ctx, Index count, Index block, Part&& part) {
  if (count <= block) return part(Index{0}, count);
  const Index units = num_blocks(count, block);
  Tensor parts = ctx.tensor({units}, Dtype::f64);
  double* sums = parts.data<double>();
  for_blocks(ctx, count, block,
             [&](Index begin, Index end) { sums[begin / block] = part(begin, end); });
  double sum = 0;
  for (Index unit = 0; unit < units; ++unit) sum += sums[unit];
  return sum;
}

}  // namespace grouphead::ops
