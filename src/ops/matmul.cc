#include "ops/matmul.h"

#include "ops/arithmetic.h"
#include "ops/strided.h"

namespace grouphead::ops {
namespace {

/// The axes before the last two.
Shape batch_of(const Shape& shape) {
  return Shape(std::span<const Index>(shape.begin(), static_cast<std::size_t>(shape.rank() - 2)));
}

/// Matrix `batch` of x, whose batch axes are `axes`.
ConstView matrix_of(const ConstView& x, const Shape& axes, Index batch) {
  Index offset = 0;
  for (int axis = axes.rank(); axis-- > 0;) {
    offset += batch % axes[axis] * x.stride(axis);
    batch /= axes[axis];
  }
  const int rows = x.rank() - 2;
  const Strides strides{x.stride(rows), x.stride(rows + 1)};
  const auto* start = static_cast<const std::byte*>(x.raw()) + offset * size_of(x.dtype());
  return {start, x.dtype(), Shape({x.dim(rows), x.dim(rows + 1)}), strides};
}

/// The matrix itself where it is contiguous, else its elements in `copy`.
ConstView contiguous(Context& ctx, const ConstView& x, Tensor& copy) {
  if (x.is_contiguous()) return x;
  if (!copy.has_value() || copy.shape() != x.shape()) copy = ctx.tensor(x.shape(), x.dtype());
  copy_elements(ctx, x, copy);
  return std::as_const(copy).view();
}

/// Whether all batches share b and their rows of a follow each other: one product then.
bool is_one_product(const ConstView& a, const ConstView& b, const Shape& batch) {
  bool shares = a.is_contiguous() && batch.rank() > 0;
  for (int axis = 0; axis < batch.rank(); ++axis) {
    shares = shares && (b.stride(axis) == 0 || batch[axis] == 1);
  }
  return shares;
}

}  // namespace

void matmul(Context& ctx, ConstView a, ConstView b, Write write, View c) {
  const int rows = c.rank() - 2;
  const Shape batch = batch_of(c.shape());
  const bool fits = a.rank() == c.rank() && b.rank() == c.rank() && batch_of(a.shape()) == batch &&
                    batch_of(b.shape()) == batch && a.dim(rows) == c.dim(rows) &&
                    b.dim(rows + 1) == c.dim(rows + 1) && a.dim(rows + 1) == b.dim(rows);
  if (!fits) {
    core::throw_shape_error("matmul", "operands", "[.., M, K] and [.., K, N]",
                            a.shape().to_string() + " and " + b.shape().to_string());
  }
  core::require_contiguous("matmul", "c", c);
  if (c.size() == 0) return;
  if (a.dim(rows + 1) == 0) {
    if (write == Write::overwrite) fill_zero(c);
    return;
  }
  const bool is_one = is_one_product(a, b, batch);
  const Shape flat({is_one ? batch.size() * c.dim(rows) : c.dim(rows), c.dim(rows + 1)});
  Tensor copy_a, copy_b, product;
  if (write == Write::add) product = ctx.tensor(flat, c.dtype());
  for (Index i = 0; i < (is_one ? 1 : batch.size()); ++i) {
    ConstView first = is_one ? a.reshaped({flat[0], a.dim(rows + 1)}) : matrix_of(a, batch, i);
    first = contiguous(ctx, first, copy_a);
    const ConstView second = contiguous(ctx, matrix_of(b, batch, i), copy_b);
    auto* start = static_cast<std::byte*>(c.raw()) + i * flat.size() * size_of(c.dtype());
    const View to(start, c.dtype(), flat);
    if (write == Write::overwrite) {
      gemm(ctx, first, second, to);
    } else {
      gemm(ctx, first, second, product);
      add(ctx, to, product, to);
    }
  }
}

}  // namespace grouphead::ops
