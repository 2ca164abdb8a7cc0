#pragma once

// Conversions between element types.

#include "grouphead/core/context.h"

namespace grouphead::ops {

constexpr bool is_floating(Dtype dtype) noexcept {
  return dtype == Dtype::f32 || dtype == Dtype::f64 || dtype == Dtype::bf16 || dtype == Dtype::f16;
}

/// to = from, rounded to the numbers that `grid` has: the cast to `grid` and back, in one pass.
/// With `grid` = to.dtype() a plain conversion. Both contiguous, of equal size, any floating types;
/// `to` may be `from`. Errors: ShapeError.
void convert_rounded(ConstView from, Dtype grid, View to);

/// x rounded to the numbers that `grid` has, in place, on all threads: what a layer of a 16-bit
/// policy gives. Contiguous, f32 or f64; nothing where `grid` is x.dtype(). Errors: ShapeError.
void round_to(Context& ctx, Dtype grid, View x);

/// to = from for any types, none of the values changed: integers, bools and floating values that
/// the other type has too. Returns where the first value stands that it does not have, and -1 where
/// it has all. Both contiguous, of equal size. Errors: ShapeError.
Index convert_exactly(ConstView from, View to);

}  // namespace grouphead::ops
