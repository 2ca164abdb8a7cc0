// The other functions of each element.

#include <cmath>
#include <limits>
#include <numbers>

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

constexpr double kInfinity = std::numeric_limits<double>::infinity();

Var number(const TracedCall& call, double value) { return literal(call.trace, value); }

template <Unary Kind>
Results unary_of(TracedCall& call) {
  return {unary(Kind, call[0])};
}

/// Integers and bools stay as they are.
Results truncated(TracedCall& call) {
  return {ops::is_floating(call[0].dtype()) ? unary(Unary::trunc, call[0]) : call[0]};
}

Results rounded(TracedCall& call) {
  const Var x = call[0];
  const Index decimals = call.integer("decimals", 0);
  if (!ops::is_floating(x.dtype()) && decimals >= 0) {
    return {cast(x, without_bool(x.dtype()))};
  }
  const double factor = std::pow(10.0, static_cast<double>(decimals));
  const Var wide = cast(x, floating(x.dtype()));
  if (decimals == 0) return {unary(Unary::round, wide)};
  return {cast(unary(Unary::round, wide * factor) / factor, x.dtype())};
}

Results sign(TracedCall& call) {
  const Var x = call[0];
  if (ops::is_floating(x.dtype())) return {unary(Unary::sign, x)};
  const Var zero = literal(call.trace, Index{0});
  return {cast(compare(Comparison::greater, x, zero), x.dtype()) -
          cast(compare(Comparison::less, x, zero), x.dtype())};
}

Results signbit(TracedCall& call) {
  const Var x = call[0];
  if (!ops::is_floating(x.dtype())) {
    return {compare(Comparison::less, x, literal(call.trace, Index{0}))};
  }
  // -0 has it too: its reciprocal is below zero.
  return {combine(Logical::either, less(x, 0.0),
                  combine(Logical::both, compare(Comparison::equal, x, number(call, 0)),
                          less(unary(Unary::reciprocal, x), 0.0)))};
}

template <bool ToRadians>
Results turned(TracedCall& call) {
  const double factor = ToRadians ? std::numbers::pi / 180 : 180 / std::numbers::pi;
  return {cast(call[0], floating(call[0].dtype())) * factor};
}

Results sinc(TracedCall& call) {
  const Var x = cast(call[0], floating(call[0].dtype())) * std::numbers::pi;
  const Var is_zero = compare(Comparison::equal, x, number(call, 0));
  const Var safe = select(is_zero, number(call, 1), x);
  return {select(is_zero, number(call, 1), unary(Unary::sin, safe) / safe)};
}

Results isnan(TracedCall& call) { return {compare(Comparison::not_equal, call[0], call[0])}; }

template <int Sign>
Results isinf(TracedCall& call) {
  const Var x = cast(call[0], floating(call[0].dtype()));
  const Var size = Sign == 0 ? unary(Unary::absolute, x) : x;
  return {compare(Comparison::equal, size, number(call, Sign < 0 ? -kInfinity : kInfinity))};
}

Results isfinite(TracedCall& call) {
  const Var x = cast(call[0], floating(call[0].dtype()));
  return {less(unary(Unary::absolute, x), kInfinity)};
}

Results isreal(TracedCall& call) {
  return {filled(call.trace, 1, call[0].shape(), Dtype::boolean)};
}

Results nan_to_num(TracedCall& call) {
  const Var x = call[0];
  if (!ops::is_floating(x.dtype())) return {x};
  const auto limit = [&] {
    switch (x.dtype()) {
      case Dtype::f16:
        return 65504.0;
      case Dtype::bf16:
        return 3.3895313892515355e38;
      case Dtype::f64:
        return std::numeric_limits<double>::max();
      default:
        return static_cast<double>(std::numeric_limits<float>::max());
    }
  }();
  const auto replaced = [&](Var y, double from, double to) {
    return select(compare(Comparison::equal, y, number(call, from)), number(call, to), y);
  };
  Var y = select(compare(Comparison::not_equal, x, x), number(call, call.number("nan", 0)), x);
  y = replaced(y, kInfinity, call.number("posinf", limit));
  return {replaced(y, -kInfinity, call.number("neginf", -limit))};
}

/// Both operands in one floating type.
struct Pair {
  explicit Pair(const TracedCall& call) : a(call[0]), b(call[1]) {
    const OperandType types[] = {a.type(), b.type()};
    const Dtype dtype = floating(result_type(types));
    a = cast(a, dtype);
    b = cast(b, dtype);
  }
  Var a, b;
};

Results arctan2(TracedCall& call) {
  const Pair p(call);
  const Var y = p.a;
  const Var x = p.b;
  const Var is_zero = compare(Comparison::equal, x, number(call, 0));
  const Var safe = select(is_zero, number(call, 1), x);
  const double pi = std::numbers::pi;
  const Var side = select(less(y, 0.0), number(call, -pi), number(call, pi));
  const Var angle = unary(Unary::arctan, y / safe) + select(less(x, 0.0), side, number(call, 0));
  // On the axis x = 0 the angle is +-pi / 2, and its slope along x is -1 / y.
  const Var flipped_angle = select(less(y, 0.0), number(call, -pi / 2), number(call, pi / 2));
  const Var safe_y = select(compare(Comparison::equal, y, number(call, 0)), number(call, 1), y);
  const Var upright = select(compare(Comparison::equal, y, number(call, 0)), number(call, 0),
                             flipped_angle - unary(Unary::arctan, x / safe_y));
  return {select(is_zero, upright, angle)};
}

/// log(base^a + base^b); infinities meet without NaN.
Results log_of_sum(TracedCall& call, double log_of_base) {
  const Pair p(call);
  const Var highest = without_gradient(maximum(p.a, p.b));
  const Var is_infinite =
      compare(Comparison::equal, unary(Unary::absolute, highest), number(call, kInfinity));
  const Var shift = select(is_infinite, number(call, 0), highest);
  const auto power = [&](Var x) { return unary(Unary::exp, (x - shift) * log_of_base); };
  return {unary(Unary::log, power(p.a) + power(p.b)) / log_of_base + shift};
}

Results logaddexp(TracedCall& call) { return log_of_sum(call, 1); }
Results logaddexp2(TracedCall& call) { return log_of_sum(call, std::numbers::ln2); }

Results hypot(TracedCall& call) {
  const Pair p(call);
  const Var a = unary(Unary::absolute, p.a);
  const Var b = unary(Unary::absolute, p.b);
  const Var largest = without_gradient(maximum(a, b));
  const Var scale =
      select(compare(Comparison::equal, largest, number(call, 0)), number(call, 1), largest);
  return {unary(Unary::sqrt, square(a / scale) + square(b / scale)) * scale};
}

/// The rest has the sign of the first operand.
Results fmod(TracedCall& call) {
  const Var a = call[0];
  const Var b = call[1];
  const OperandType types[] = {a.type(), b.type()};
  const Dtype dtype = without_bool(result_type(types));
  const Var first = cast(a, dtype);
  const Var second = cast(b, dtype);
  const Var zero = literal(call.trace, Index{0});
  const Var rest = binary(Binary::mod, first, second);
  const Var differs = combine(Logical::exactly_one, compare(Comparison::less, first, zero),
                              compare(Comparison::less, second, zero));
  const Var moves = combine(Logical::both, differs, compare(Comparison::not_equal, rest, zero));
  return {select(moves, rest - second, rest)};
}

/// Maximum and minimum that pass NaN over.
template <Binary Kind>
Results without_nan(TracedCall& call) {
  const Var a = call[0];
  const Var b = call[1];
  const Var y = select(compare(Comparison::not_equal, a, a), b, a);
  const Var z = select(compare(Comparison::not_equal, b, b), a, b);
  return {binary(Kind, y, z)};
}

Results divide_no_nan(TracedCall& call) {
  const Pair p(call);
  const Var is_zero = compare(Comparison::equal, p.b, number(call, 0));
  return {select(is_zero, number(call, 0), p.a / select(is_zero, number(call, 1), p.b))};
}

Results heaviside(TracedCall& call) {
  const Pair p(call);
  const Var above = select(greater(p.a, 0.0), number(call, 1), p.b);
  const Var y = select(less(p.a, 0.0), number(call, 0), above);
  return {select(compare(Comparison::not_equal, p.a, p.a), p.a, y)};
}

Var closeness(TracedCall& call, double rtol, double atol) {
  const Pair p(call);
  const Var bound = unary(Unary::absolute, p.b) * rtol + atol;
  Var close = compare(Comparison::less_equal, unary(Unary::absolute, p.a - p.b), bound);
  close = combine(Logical::both, close, less(unary(Unary::absolute, p.b), kInfinity));
  close = combine(Logical::either, close, compare(Comparison::equal, p.a, p.b));
  if (!call.truth("equal_nan")) return close;
  return combine(Logical::either, close,
                 combine(Logical::both, compare(Comparison::not_equal, p.a, p.a),
                         compare(Comparison::not_equal, p.b, p.b)));
}

Results isclose(TracedCall& call) {
  const auto tolerance = [&](std::size_t place, double fallback) {
    return call.literal(place).is_null() ? fallback : call.literal(place).as_number("tolerance");
  };
  return {closeness(call, tolerance(2, 1e-5), tolerance(3, 1e-8))};
}

Results allclose(TracedCall& call) {
  const Var close = closeness(call, call.number("rtol", 1e-5), call.number("atol", 1e-8));
  return {extreme(ops::Extreme::min, close, all_axes(close.rank()), false)};
}

Results fabs(TracedCall& call) { return {unary(Unary::absolute, call[0])}; }

constexpr OperationClass numpy_class(std::string_view name, std::string_view operands,
                                     TracedFunction function) {
  return traced_class(kNumpyModule, name, operands, function);
}

constexpr OperationClass kClasses[] = {
    numpy_class("AllClose", "x1,x2", allclose),
    numpy_class("Arccos", "x", unary_of<Unary::arccos>),
    numpy_class("Arccosh", "x", unary_of<Unary::arccosh>),
    numpy_class("Arcsin", "x", unary_of<Unary::arcsin>),
    numpy_class("Arcsinh", "x", unary_of<Unary::arcsinh>),
    numpy_class("Arctan", "x", unary_of<Unary::arctan>),
    numpy_class("Arctan2", "x1,x2", arctan2),
    numpy_class("Arctanh", "x", unary_of<Unary::arctanh>),
    numpy_class("Cbrt", "x", unary_of<Unary::cbrt>),
    numpy_class("Ceil", "x", unary_of<Unary::ceil>),
    numpy_class("Cosh", "x", unary_of<Unary::cosh>),
    numpy_class("Deg2rad", "x", turned<true>),
    numpy_class("DivideNoNan", "x1,x2", divide_no_nan),
    numpy_class("Exp2", "x", unary_of<Unary::exp2>),
    numpy_class("Expm1", "x", unary_of<Unary::expm1>),
    numpy_class("Fabs", "x", fabs),
    numpy_class("Floor", "x", unary_of<Unary::floor>),
    numpy_class("Fmax", "x1,x2", without_nan<Binary::maximum>),
    numpy_class("Fmin", "x1,x2", without_nan<Binary::minimum>),
    numpy_class("Fmod", "x1,x2", fmod),
    numpy_class("Heaviside", "x1,x2", heaviside),
    numpy_class("Hypot", "x1,x2", hypot),
    numpy_class("Isclose", "x1,x2,rtol!,atol!", isclose),
    numpy_class("Isfinite", "x", isfinite),
    numpy_class("Isinf", "x", isinf<0>),
    numpy_class("Isnan", "x", isnan),
    numpy_class("Isneginf", "x", isinf<-1>),
    numpy_class("Isposinf", "x", isinf<1>),
    numpy_class("Isreal", "x", isreal),
    numpy_class("Log10", "x", unary_of<Unary::log10>),
    numpy_class("Log1p", "x", unary_of<Unary::log1p>),
    numpy_class("Log2", "x", unary_of<Unary::log2>),
    numpy_class("Logaddexp", "x1,x2", logaddexp),
    numpy_class("Logaddexp2", "x1,x2", logaddexp2),
    numpy_class("NanToNum", "x", nan_to_num),
    numpy_class("Rad2deg", "x", turned<false>),
    numpy_class("Round", "x", rounded),
    numpy_class("Sign", "x", sign),
    numpy_class("Signbit", "x", signbit),
    numpy_class("Sinc", "x", sinc),
    numpy_class("Sinh", "x", unary_of<Unary::sinh>),
    numpy_class("Tan", "x", unary_of<Unary::tan>),
    numpy_class("Trunc", "x", truncated),
    traced_class(kMathModule, "Erf", "x", unary_of<Unary::erf>),
    traced_class(kMathModule, "Erfc", "x", unary_of<Unary::erfc>),
    traced_class(kMathModule, "Erfinv", "x", unary_of<Unary::erfinv>),
};

}  // namespace

std::span<const OperationClass> numeric_operations() { return kClasses; }

}  // namespace grouphead::nn
