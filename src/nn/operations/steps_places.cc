// Steps that move elements.

#include <numeric>

#include "core/check.h"
#include "nn/operations/steps.h"
#include "nn/shapes.h"
#include "ops/along_axis.h"
#include "ops/strided.h"

namespace grouphead::nn::steps {
namespace {

Shape with_dim(const Shape& shape, int axis, Index dim) {
  std::vector<Index> dims(shape.begin(), shape.end());
  dims[static_cast<std::size_t>(axis)] = dim;
  return Shape::partial(dims);
}

}  // namespace

Axes all_axes(int rank) {
  Axes axes(static_cast<std::size_t>(rank));
  std::iota(axes.begin(), axes.end(), 0);
  return axes;
}

Layout layout_of(Var x) {
  const Shape& shape = x.shape();
  Strides strides{};
  Index stride = 1;
  for (int axis = shape.rank(); axis-- > 0;) {
    strides[static_cast<std::size_t>(axis)] = stride;
    stride *= std::max<Index>(shape[axis], 1);
  }
  return Layout::of(shape, strides);
}

Var arranged(Var x, const Layout& layout, bool repeats) {
  const Tensor value = x.value();
  return x.trace().step(
      {x}, layout.shape(), x.type(),
      [&](Context& ctx, Tensor& y) { ops::copy_elements(ctx, layout.view(value.view()), y); },
      [layout, repeats](Context& ctx, const Tensor& d_y, std::span<const View> d_x) {
        if (!d_x[0].has_value()) return;
        if (repeats) return ops::sum_to(ctx, d_y, 1, ops::Write::add, d_x[0]);
        ops::add_elements(ctx, d_y, layout.view(d_x[0]));
      });
}

Var reshaped(Var x, const Shape& shape) {
  if (shape == x.shape()) return x;
  return x.trace().alias(x, shape, [](Context& ctx, const Tensor& d_y, std::span<const View> d_x) {
    if (d_x[0].has_value()) ops::add_elements(ctx, d_y.reshaped(d_x[0].shape()), d_x[0]);
  });
}

Var transposed(Var x, std::span<const int> order) {
  if (std::is_sorted(order.begin(), order.end())) return x;
  const Layout from = layout_of(x);
  Layout turned;
  for (const int axis : order) {
    const auto at = static_cast<std::size_t>(axis);
    turned.push(from.dims[at], from.strides[at]);
  }
  return arranged(x, turned);
}

Var moved(Var x, int from, int to) {
  Axes order = all_axes(x.rank());
  order.erase(order.begin() + from);
  order.insert(order.begin() + to, from);
  return transposed(x, order);
}

Var flattened(Var x) {
  Index size = 1;
  for (const Index dim : x.shape()) size = dim < 0 || size < 0 ? -1 : size * dim;
  return reshaped(x, Shape::partial({size}));
}

Var expanded(Var x, int axis) {
  std::vector<Index> dims(x.shape().begin(), x.shape().end());
  dims.insert(dims.begin() + axis, 1);
  return reshaped(x, Shape::partial(dims));
}

Var squeezed(Var x, int axis) {
  std::vector<Index> dims(x.shape().begin(), x.shape().end());
  dims.erase(dims.begin() + axis);
  return reshaped(x, Shape::partial(dims));
}

Var broadcast(Var x, const Shape& shape) {
  if (shape == x.shape() && shape.is_complete()) return x;
  const Layout from = layout_of(x);
  Layout wide;
  const int added = shape.rank() - x.rank();
  for (int axis = 0; axis < shape.rank(); ++axis) {
    const auto at = static_cast<std::size_t>(axis - added);
    const bool is_own = axis >= added && from.dims[at] != 1;
    wide.push(shape[axis], is_own ? from.strides[at] : 0);
  }
  return arranged(x, wide, true);
}

Var sliced(Var x, int axis, Index begin, Index end) {
  Layout layout = layout_of(x);
  const auto at = static_cast<std::size_t>(axis);
  if (end > begin) layout.offset += begin * layout.strides[at];
  layout.dims[at] = end - begin;
  return arranged(x, layout);
}

Var flipped(Var x, int axis) {
  Layout layout = layout_of(x);
  const auto at = static_cast<std::size_t>(axis);
  if (layout.dims[at] > 0) layout.offset += (layout.dims[at] - 1) * layout.strides[at];
  layout.strides[at] = -layout.strides[at];
  return arranged(x, layout);
}

Var joined(std::span<const Var> parts, int axis) {
  std::vector<OperandType> types;
  std::vector<Shape> shapes;
  for (const Var& part : parts) {
    types.push_back(part.type());
    shapes.push_back(part.shape());
  }
  const Dtype dtype = result_type(types);
  Trace& trace = parts[0].trace();
  std::vector<Var> from;
  for (const Var& part : parts) from.push_back(cast(part, dtype));
  const Shape shape = joined_shape(trace.name(), shapes, axis);
  const auto for_parts = [shapes, axis](auto&& body) {
    Index begin = 0;
    for (std::size_t i = 0; i < shapes.size(); ++i) {
      const Index end = begin + shapes[i][axis];
      body(i, begin, end);
      begin = end;
    }
  };
  return trace.step(
      from, shape, {dtype, false},
      [&](Context& ctx, Tensor& y) {
        for_parts([&](std::size_t i, Index begin, Index end) {
          ops::copy_elements(ctx, from[i].value(), y.view().slice(axis, begin, end));
        });
      },
      [for_parts, axis](Context& ctx, const Tensor& d_y, std::span<const View> d_x) {
        for_parts([&](std::size_t i, Index begin, Index end) {
          if (!d_x[i].has_value()) return;
          ops::add_elements(ctx, d_y.view().slice(axis, begin, end), d_x[i]);
        });
      });
}

Var picked(Var x, int axis, Index count, MakeIndices indices, double fill) {
  const Shape shape = with_dim(x.shape(), axis, count);
  return x.trace().step(
      {x}, shape, x.type(),
      [&](Context& ctx, Tensor& y) { ops::pick(ctx, x.value(), axis, indices(), fill, y); },
      [axis, indices](Context& ctx, const Tensor& d_y, std::span<const View> d_x) {
        if (d_x[0].has_value()) ops::add_picked(ctx, d_y, axis, indices(), d_x[0]);
      });
}

Var taken(Var x, int axis, Var indices) {
  const Tensor given = cast(indices, Dtype::i64).value();
  const Index length = x.dim(axis);
  const auto make = [given, length] {
    std::vector<Index> made(given.data<Index>(), given.data<Index>() + given.size());
    for (Index& index : made) index = index < 0 ? index + length : index;
    return made;
  };
  return picked(x, axis, indices.dim(0), make, std::numeric_limits<double>::quiet_NaN());
}

Var taken_along(Var x, int axis, Var indices) {
  const Tensor places = cast(indices, Dtype::i64).value();
  return x.trace().step(
      {x}, with_dim(x.shape(), axis, indices.dim(axis)), x.type(),
      [&](Context& ctx, Tensor& y) { ops::pick_along(ctx, x.value(), axis, places, y); },
      [axis, places](Context& ctx, const Tensor& d_y, std::span<const View> d_x) {
        if (d_x[0].has_value()) ops::add_picked_along(ctx, d_y, axis, places, d_x[0]);
      });
}

Var gathered(Var x, int axis, Var indices, Index size) {
  const Tensor given = cast(indices, Dtype::i64).value();
  const auto make = [given] {
    return std::vector<Index>(given.data<Index>(), given.data<Index>() + given.size());
  };
  // Sums are floating; integers below 2^53 stay exact.
  const Dtype dtype = arithmetic_type(x.dtype());
  const Var numbers = ops::is_floating(dtype) ? x : cast(x, Dtype::f64);
  const Var sums = x.trace().step(
      {numbers}, with_dim(x.shape(), axis, size), numbers.type(),
      [&](Context& ctx, Tensor& y) {
        fill_zero(y);
        ops::add_picked(ctx, numbers.value(), axis, make(), y);
      },
      [axis, make](Context& ctx, const Tensor& d_y, std::span<const View> d_x) {
        if (!d_x[0].has_value()) return;
        Tensor part = ctx.tensor(d_x[0].shape(), d_x[0].dtype());
        ops::pick(ctx, d_y, axis, make(), 0, part);
        ops::add_elements(ctx, part, d_x[0]);
      });
  return cast(sums, x.dtype());
}

}  // namespace grouphead::nn::steps
