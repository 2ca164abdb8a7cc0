// Steps on each element alone.

#include "nn/operations/steps.h"
#include "ops/activation.h"
#include "ops/strided.h"

namespace grouphead::nn::steps {
namespace {

Tensor scalar(double value) { return Tensor::from(Shape(), std::span<const double>(&value, 1)); }

OperandType promoted(Var a, Var b) {
  const OperandType types[] = {a.type(), b.type()};
  return {result_type(types), a.type().is_weak && b.type().is_weak};
}

}  // namespace

Var literal(Trace& trace, double value) { return trace.given(scalar(value), {Dtype::f32, true}); }

Var literal(Trace& trace, Index value) {
  return trace.given(Tensor::from(Shape(), std::span<const Index>(&value, 1)), {Dtype::i32, true});
}

Var filled(Trace& trace, double value, const Shape& shape, Dtype dtype) {
  return broadcast(cast(trace.given(scalar(value), {Dtype::f64, false}), dtype), shape);
}

Var cast(Var x, Dtype dtype) {
  if (x.dtype() == dtype && !x.type().is_weak) return x;
  const Tensor from = x.value();
  return x.trace().step(
      {x}, x.shape(), {dtype, false},
      [&](Context& ctx, Tensor& y) { ops::copy_elements(ctx, numbers_as(ctx, from, dtype), y); },
      [](Context& ctx, const Tensor& d_y, std::span<const View> d_x) {
        if (d_x[0].has_value()) ops::add_elements(ctx, d_y, d_x[0]);
      });
}

Var without_gradient(Var x) {
  return x.trace().step({x}, x.shape(), x.type(),
                        [&](Context& ctx, Tensor& y) { ops::copy_elements(ctx, x.value(), y); });
}

Var unary(ops::Unary kind, Var x) {
  const Var in = cast(x, floating(x.dtype()));
  const Tensor value = in.value();
  return in.trace().step(
      {in}, in.shape(), in.type(),
      [&](Context& ctx, Tensor& y) { ops::unary_forward(ctx, kind, value, y); },
      [kind, value](Context& ctx, const Tensor& d_y, std::span<const View> d_x) {
        if (d_x[0].has_value()) ops::unary_backward(ctx, kind, value, d_y, d_x[0]);
      });
}

Var activated(Var x, const Activation& activation) {
  const Var in = cast(x, floating(x.dtype()));
  const Tensor value = in.value();
  return in.trace().step(
      {in}, in.shape(), in.type(),
      [&](Context& ctx, Tensor& y) { ops::activation_forward(ctx, activation, value, y); },
      [activation, value](Context& ctx, const Tensor& d_y, std::span<const View> d_x) {
        if (!d_x[0].has_value()) return;
        Tensor part = ctx.tensor(d_y.shape(), d_y.dtype());
        ops::activation_backward(ctx, activation, value, d_y, part);
        ops::add_elements(ctx, part, d_x[0]);
      });
}

Var binary(ops::Binary kind, Var a, Var b) {
  OperandType type = promoted(a, b);
  const bool divides = kind == ops::Binary::divide;
  if (divides) type.dtype = floating(type.dtype);
  const Var x1 = cast(a, type.dtype);
  const Var x2 = cast(b, type.dtype);
  const Shape shape = ops::broadcast_shape(a.trace().name(), a.shape(), b.shape());
  const Tensor first = x1.value();
  const Tensor second = x2.value();
  return a.trace().step(
      {x1, x2}, shape, type,
      [&](Context& ctx, Tensor& y) { ops::binary_forward(ctx, kind, first, second, y); },
      [kind, first, second](Context& ctx, const Tensor& d_y, std::span<const View> d_x) {
        ops::binary_backward(ctx, kind, first, second, d_y, d_x[0], d_x[1]);
      });
}

Var compare(ops::Comparison kind, Var a, Var b) {
  const Dtype dtype = promoted(a, b).dtype;
  const Var x1 = cast(a, dtype);
  const Var x2 = cast(b, dtype);
  const Shape shape = ops::broadcast_shape(a.trace().name(), a.shape(), b.shape());
  return a.trace().step({x1, x2}, shape, {Dtype::boolean, false}, [&](Context& ctx, Tensor& y) {
    ops::compare(ctx, kind, x1.value(), x2.value(), y);
  });
}

Var less(Var a, double b) { return compare(ops::Comparison::less, a, literal(a.trace(), b)); }
Var greater(Var a, double b) { return compare(ops::Comparison::greater, a, literal(a.trace(), b)); }

Var combine(ops::Logical kind, Var a, Var b) {
  const Var x1 = cast(a, Dtype::boolean);
  const Var x2 = cast(b, Dtype::boolean);
  const Shape shape = ops::broadcast_shape(a.trace().name(), a.shape(), b.shape());
  return a.trace().step({x1, x2}, shape, {Dtype::boolean, false}, [&](Context& ctx, Tensor& y) {
    ops::combine(ctx, kind, x1.value(), x2.value(), y);
  });
}

Var invert(Var x) {
  const Var truth = cast(x, Dtype::boolean);
  return x.trace().step({truth}, x.shape(), {Dtype::boolean, false},
                        [&](Context& ctx, Tensor& y) { ops::invert(ctx, truth.value(), y); });
}

Var select(Var condition, Var a, Var b) {
  const OperandType type = promoted(a, b);
  const Var chosen = cast(condition, Dtype::boolean);
  const Var x1 = cast(a, type.dtype);
  const Var x2 = cast(b, type.dtype);
  const std::string& name = a.trace().name();
  const Shape shape = ops::broadcast_shape(
      name, ops::broadcast_shape(name, condition.shape(), a.shape()), b.shape());
  const Tensor truth = chosen.value();
  return a.trace().step(
      {x1, x2}, shape, type,
      [&](Context& ctx, Tensor& y) { ops::select(ctx, truth, x1.value(), x2.value(), y); },
      [truth](Context& ctx, const Tensor& d_y, std::span<const View> d_x) {
        const Tensor zero = ctx.zeros(Shape(), d_y.dtype());
        Tensor part = ctx.tensor(d_y.shape(), d_y.dtype());
        if (d_x[0].has_value()) {
          ops::select(ctx, truth, d_y, zero, part);
          ops::sum_to(ctx, part, 1, ops::Write::add, d_x[0]);
        }
        if (d_x[1].has_value()) {
          ops::select(ctx, truth, zero, d_y, part);
          ops::sum_to(ctx, part, 1, ops::Write::add, d_x[1]);
        }
      });
}

}  // namespace grouphead::nn::steps
