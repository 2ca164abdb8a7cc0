#pragma once

// Elementwise functions of one and two operands, which broadcast as NumPy's do, each with its
// partial derivatives. Operands have one type, f32, f64, i64 or bool; y has the shape they
// broadcast to, contiguous. Where a derivative has two sides, it is what JAX takes.

#include "ops/linear.h"

namespace grouphead::ops {

enum class Unary : std::uint8_t {
  absolute,
  arccos,
  arccosh,
  arcsin,
  arcsinh,
  arctan,
  arctanh,
  cbrt,
  ceil,
  cos,
  cosh,
  erf,
  erfc,
  erfinv,
  exp,
  exp2,
  expm1,
  floor,
  log,
  log10,
  log1p,
  log2,
  negative,
  reciprocal,
  round,  ///< half to even
  rsqrt,
  sigmoid,
  sign,
  sin,
  sinh,
  sqrt,
  square,
  tan,
  tanh,
  trunc,
};

/// y = f(x). Types f32 and f64; absolute, negative and square also i64.
void unary_forward(Context& ctx, Unary kind, ConstView x, View y);
/// d_x += d_y f'(x). f32 or f64, contiguous.
void unary_backward(Context& ctx, Unary kind, ConstView x, ConstView d_y, View d_x);

enum class Binary : std::uint8_t {
  add,     ///< bool: or
  divide,  ///< f32 and f64
  floor_divide,
  maximum,
  minimum,
  mod,       ///< with the divisor's sign
  multiply,  ///< bool: and
  power,
  subtract,  ///< not bool
};

/// y = f(a, b). Errors: ShapeError for types that the function does not take.
void binary_forward(Context& ctx, Binary kind, ConstView a, ConstView b, View y);
/// d_a += d_y df/da summed to a's shape, likewise d_b; either may be absent. f32 or f64.
void binary_backward(Context& ctx, Binary kind, ConstView a, ConstView b, ConstView d_y, View d_a,
                     View d_b);

enum class Comparison : std::uint8_t {
  equal,
  greater,
  greater_equal,
  less,
  less_equal,
  not_equal,
};
/// y (bool) = a ? b.
void compare(Context& ctx, Comparison kind, ConstView a, ConstView b, View y);

enum class Logical : std::uint8_t { both, either, exactly_one };
/// All bool.
void combine(Context& ctx, Logical kind, ConstView a, ConstView b, View y);
void invert(Context& ctx, ConstView x, View y);

/// y = condition (bool) ? a : b, all of y's shape after broadcasting.
void select(Context& ctx, ConstView condition, ConstView a, ConstView b, View y);

}  // namespace grouphead::ops
