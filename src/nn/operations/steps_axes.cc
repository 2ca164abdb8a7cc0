// Steps over axes: sums, extremes, orders, softmax.

#include <memory>

#include "nn/operations/steps.h"
#include "ops/activation.h"
#include "ops/along_axis.h"
#include "ops/arithmetic.h"
#include "ops/strided.h"

namespace grouphead::nn::steps {
namespace {

Index count_of(const Shape& shape, const Axes& axes) {
  Index count = 1;
  for (const int axis : axes) count *= shape[axis];
  return count;
}

/// scale * sum over axes, of floating numbers, with size 1 on them.
Var scaled_sum(Var x, const Axes& axes, double scale) {
  const Shape from = x.shape();
  const Shape shape = reduced_shape(from, axes, true);
  const std::string name = x.trace().name();
  return x.trace().step(
      {x}, shape, x.type(),
      [&](Context& ctx, Tensor& y) {
        ops::sum_to(ctx, x.value(), scale, ops::Write::overwrite, y);
      },
      [scale, from, name](Context& ctx, const Tensor& d_y, std::span<const View> d_x) {
        if (!d_x[0].has_value()) return;
        Tensor scaled = ctx.tensor(d_y.shape(), d_y.dtype());
        ops::scale(ctx, d_y, scale, scaled);
        ops::add_elements(ctx, ops::broadcast_to(name, scaled, from), d_x[0]);
      });
}

Var without_axes(Var reduced, const Shape& from, const Axes& axes, bool keeps) {
  return reshaped(reduced, reduced_shape(from, axes, keeps));
}

}  // namespace

Shape reduced_shape(const Shape& shape, const Axes& axes, bool keeps) {
  std::vector<Index> dims;
  for (int axis = 0; axis < shape.rank(); ++axis) {
    const bool is_reduced = std::find(axes.begin(), axes.end(), axis) != axes.end();
    if (!is_reduced || keeps) dims.push_back(is_reduced ? 1 : shape[axis]);
  }
  return Shape::partial(dims);
}

Var sum(Var x, const Axes& axes, bool keeps) {
  const bool is_small = x.dtype() == Dtype::boolean || x.dtype() == Dtype::u8;
  const Var numbers = is_small ? cast(x, Dtype::i32) : x;
  if (ops::is_floating(x.dtype())) {
    return without_axes(scaled_sum(x, axes, 1), x.shape(), axes, keeps);
  }
  const Var counts =
      x.trace().step({numbers}, reduced_shape(x.shape(), axes, true), numbers.type(),
                     [&](Context& ctx, Tensor& y) { ops::count_to(ctx, numbers.value(), y); });
  return without_axes(counts, x.shape(), axes, keeps);
}

Var mean(Var x, const Axes& axes, bool keeps) {
  const Var numbers = cast(x, floating(x.dtype()));
  const double scale = 1 / static_cast<double>(count_of(x.shape(), axes));
  return without_axes(scaled_sum(numbers, axes, scale), x.shape(), axes, keeps);
}

Var variance(Var x, const Axes& axes, bool keeps) {
  const Var numbers = cast(x, floating(x.dtype()));
  return mean(square(numbers - mean(numbers, axes, true)), axes, keeps);
}

Var extreme(ops::Extreme kind, Var x, const Axes& axes, bool keeps) {
  const Tensor value = x.value();
  const auto best = std::make_shared<Tensor>();
  const Var y = x.trace().step(
      {x}, reduced_shape(x.shape(), axes, true), x.type(),
      [&](Context& ctx, Tensor& to) {
        ops::extreme_to(ctx, kind, value, to);
        *best = to;
      },
      [value, best](Context& ctx, const Tensor& d_y, std::span<const View> d_x) {
        if (!d_x[0].has_value()) return;
        ops::add_extreme_gradient(ctx, value, std::as_const(*best), d_y, d_x[0]);
      });
  return without_axes(y, x.shape(), axes, keeps);
}

Var cumulated(Var x, int axis, bool multiplies) {
  const bool is_small = x.dtype() == Dtype::boolean || x.dtype() == Dtype::u8;
  const Var numbers = is_small ? cast(x, Dtype::i32) : x;
  const Tensor value = numbers.value();
  return x.trace().step(
      {numbers}, x.shape(), numbers.type(),
      [&](Context& ctx, Tensor& y) { ops::cumulate(ctx, multiplies, value, axis, y); },
      [value, axis, multiplies](Context& ctx, const Tensor& d_y, std::span<const View> d_x) {
        if (d_x[0].has_value()) {
          ops::add_cumulated_gradient(ctx, multiplies, value, d_y, axis, d_x[0]);
        }
      });
}

Var order(Var x, int axis, bool descends) {
  return x.trace().step({x}, x.shape(), {Dtype::i32, false}, [&](Context& ctx, Tensor& y) {
    ops::sort_order(ctx, x.value(), axis, descends, y);
  });
}

Var place_of_extreme(ops::Extreme kind, Var x, int axis) {
  return x.trace().step(
      {x}, reduced_shape(x.shape(), {axis}, false), {Dtype::i32, false},
      [&](Context& ctx, Tensor& y) { ops::extreme_place(ctx, kind, x.value(), axis, y); });
}

Var softmax(Var x, int axis) {
  const int last = x.rank() - 1;
  if (axis != last) return moved(softmax(moved(x, axis, last), last), last, axis);
  const Var numbers = cast(x, floating(x.dtype()));
  const auto result = std::make_shared<Tensor>();
  return x.trace().step(
      {numbers}, x.shape(), numbers.type(),
      [&](Context& ctx, Tensor& y) {
        ops::softmax_forward(ctx, numbers.value(), y);
        *result = y;
      },
      [result](Context& ctx, const Tensor& d_y, std::span<const View> d_x) {
        if (!d_x[0].has_value()) return;
        Tensor part = ctx.tensor(d_y.shape(), d_y.dtype());
        ops::softmax_backward(ctx, std::as_const(*result), d_y, part);
        ops::add_elements(ctx, part, d_x[0]);
      });
}

Var log_softmax(Var x, int axis) {
  const Var numbers = cast(x, floating(x.dtype()));
  const Var highest = without_gradient(extreme(ops::Extreme::max, numbers, {axis}, true));
  const Var shifted = numbers - highest;
  const Var total = sum(unary(ops::Unary::exp, shifted), {axis}, true);
  return shifted - unary(ops::Unary::log, total);
}

}  // namespace grouphead::nn::steps
