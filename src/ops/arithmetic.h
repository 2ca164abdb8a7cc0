#pragma once

// Sums, scaling and clipping of whole tensors. f32 through the kernels of the Context's level, f64
// through the references. Tensors are contiguous unless said.

#include "grouphead/core/context.h"

namespace grouphead::ops {

/// y = a + b; y may be a or b.
void add(Context& ctx, ConstView a, ConstView b, View y);

/// Sum of squares of all elements, summed in fixed blocks, in double.
double sum_of_squares(Context& ctx, ConstView x);
/// Sum of the products of all elements, summed in fixed blocks, in double.
double inner_product(Context& ctx, ConstView a, ConstView b);
/// y = a x; y may be x.
void scale(Context& ctx, ConstView x, double a, View y);

/// y = a x + b y.
void blend(Context& ctx, double a, ConstView x, double b, View y);
/// x = scale x, cut to [-limit, limit]; NaN stays NaN.
void clip(Context& ctx, double scale, double limit, View x);

}  // namespace grouphead::ops
