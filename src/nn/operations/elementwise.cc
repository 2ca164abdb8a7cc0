// Operations of program text on each element: `x + 1`, `ids != 0`, `ops.where`, and casts.

#include "core/check.h"
#include "nn/operations/traced.h"

namespace grouphead::nn {
namespace {

using namespace steps;
using Results = std::vector<Var>;
using ops::Binary;
using ops::Comparison;
using ops::Logical;
using ops::Unary;

void require_numbers(const TracedCall& call, Var x, bool is_accepted, std::string_view expected) {
  // Shapes are asked for without types.
  if (is_accepted || !call.trace.computes()) return;
  core::throw_shape_error(call.name(), "operands", expected, name_of(x.dtype()));
}

template <Unary Kind>
Results unary_of(TracedCall& call) {
  return {unary(Kind, call[0])};
}

/// Those that Keras refuses of integers.
template <Unary Kind>
Results unary_of_floats(TracedCall& call) {
  require_numbers(call, call[0], ops::is_floating(call[0].dtype()), "a floating type");
  return {unary(Kind, call[0])};
}

Results absolute(TracedCall& call) {
  const Var x = call[0];
  if (x.dtype() == Dtype::boolean || x.dtype() == Dtype::u8) return {x};
  if (ops::is_floating(x.dtype())) return {unary(Unary::absolute, x)};
  return {select(compare(Comparison::less, x, literal(call.trace, Index{0})), negative(x), x)};
}

Results negated(TracedCall& call) {
  require_numbers(call, call[0], call[0].dtype() != Dtype::boolean, "numbers");
  return {negative(call[0])};
}

Results squared(TracedCall& call) { return {square(cast(call[0], without_bool(call[0].dtype())))}; }

template <Binary Kind>
Results binary_of(TracedCall& call) {
  return {binary(Kind, call[0], call[1])};
}

/// Those that have no bools.
template <Binary Kind>
Results binary_of_numbers(TracedCall& call) {
  Var a = call[0];
  Var b = call[1];
  if (a.dtype() == Dtype::boolean && b.dtype() == Dtype::boolean) {
    require_numbers(call, a, Kind != Binary::subtract, "numbers");
    a = cast(a, Dtype::i32);
  }
  return {binary(Kind, a, b)};
}

template <Comparison Kind>
Results comparison(TracedCall& call) {
  return {compare(Kind, call[0], call[1])};
}

template <Logical Kind>
Results logical(TracedCall& call) {
  return {combine(Kind, call[0], call[1])};
}

Results logical_not(TracedCall& call) { return {invert(call[0])}; }

Results where(TracedCall& call) { return {select(call[0], call[1], call[2])}; }

Results clip(TracedCall& call) {
  const auto bound = [&](std::string_view key) {
    const ConfigValue& value = call[key];
    return value.is_integer() ? literal(call.trace, value.as_integer(key))
                              : literal(call.trace, value.as_number(key));
  };
  const Var x = cast(call[0], without_bool(call[0].dtype()));
  const Var above = call["x_min"].is_null() ? x : maximum(x, bound("x_min"));
  return {call["x_max"].is_null() ? above : minimum(above, bound("x_max"))};
}

Results cast_to(TracedCall& call) { return {cast(call[0], call.dtype(call[0].dtype()))}; }

/// Cut to the range of the type first.
Results saturating_cast(TracedCall& call) {
  const Var x = call[0];
  const Dtype dtype = call.dtype(x.dtype());
  const bool is_cut = ops::is_floating(x.dtype()) && !ops::is_floating(dtype);
  if (!is_cut && dtype == Dtype::u8) {
    const Var above = maximum(cast(x, Dtype::i64), literal(call.trace, Index{0}));
    return {cast(minimum(above, literal(call.trace, Index{255})), dtype)};
  }
  return {cast(x, dtype)};
}

Results stopped(TracedCall& call) { return {without_gradient(call[0])}; }

template <int Number>
Results filled_like(TracedCall& call) {
  const Var x = call[0];
  return {filled(call.trace, Number, x.shape(), call.dtype(x.dtype()))};
}

constexpr OperationClass numpy_class(std::string_view name, std::string_view operands,
                                     TracedFunction function) {
  return traced_class(kNumpyModule, name, operands, function);
}

constexpr OperationClass kClasses[] = {
    numpy_class("Abs", "x", absolute),
    numpy_class("Absolute", "x", absolute),
    numpy_class("Add", "x1,x2", binary_of<Binary::add>),
    numpy_class("Array", "x", cast_to),
    numpy_class("Clip", "x", clip),
    numpy_class("Copy", "x", cast_to),
    numpy_class("Cos", "x", unary_of<Unary::cos>),
    numpy_class("Divide", "x1,x2", binary_of<Binary::divide>),
    numpy_class("Equal", "x1,x2", comparison<Comparison::equal>),
    numpy_class("Exp", "x", unary_of<Unary::exp>),
    numpy_class("FloorDivide", "x1,x2", binary_of_numbers<Binary::floor_divide>),
    numpy_class("Greater", "x1,x2", comparison<Comparison::greater>),
    numpy_class("GreaterEqual", "x1,x2", comparison<Comparison::greater_equal>),
    numpy_class("Less", "x1,x2", comparison<Comparison::less>),
    numpy_class("LessEqual", "x1,x2", comparison<Comparison::less_equal>),
    numpy_class("Log", "x", unary_of<Unary::log>),
    numpy_class("LogicalAnd", "x1,x2", logical<Logical::both>),
    numpy_class("LogicalNot", "x", logical_not),
    numpy_class("LogicalOr", "x1,x2", logical<Logical::either>),
    numpy_class("LogicalXor", "x1,x2", logical<Logical::exactly_one>),
    numpy_class("Maximum", "x1,x2", binary_of<Binary::maximum>),
    numpy_class("Minimum", "x1,x2", binary_of<Binary::minimum>),
    numpy_class("Mod", "x1,x2", binary_of_numbers<Binary::mod>),
    numpy_class("Multiply", "x1,x2", binary_of<Binary::multiply>),
    numpy_class("Negative", "x", negated),
    numpy_class("NotEqual", "x1,x2", comparison<Comparison::not_equal>),
    numpy_class("OnesLike", "x", filled_like<1>),
    numpy_class("Power", "x1,x2", binary_of_numbers<Binary::power>),
    numpy_class("Reciprocal", "x", unary_of<Unary::reciprocal>),
    numpy_class("Sin", "x", unary_of<Unary::sin>),
    numpy_class("Sqrt", "x", unary_of<Unary::sqrt>),
    numpy_class("Square", "x", squared),
    numpy_class("Subtract", "x1,x2", binary_of_numbers<Binary::subtract>),
    numpy_class("Tanh", "x", unary_of<Unary::tanh>),
    numpy_class("TrueDivide", "x1,x2", binary_of<Binary::divide>),
    numpy_class("Where", "condition,x1,x2", where),
    numpy_class("ZerosLike", "x", filled_like<0>),
    traced_class(kCoreModule, "Cast", "x", cast_to),
    traced_class(kCoreModule, "ConvertToTensor", "x", cast_to),
    traced_class(kCoreModule, "SaturateCast", "x", saturating_cast),
    traced_class(kCoreModule, "StopGradient", "variable", stopped),
    traced_class(kMathModule, "Rsqrt", "x", unary_of_floats<Unary::rsqrt>),
    traced_class(kNnModule, "Sigmoid", "x", unary_of_floats<Unary::sigmoid>),
};

}  // namespace

std::span<const OperationClass> elementwise_operations() { return kClasses; }

}  // namespace grouphead::nn
