#pragma once

// Rows divided by their Euclidean norms. f32 or f64, contiguous; sums in double.

#include "grouphead/core/context.h"

namespace grouphead::ops {

/// y = x / max(|x|, epsilon) over the last axis, epsilon 1e-7. y may be x.
/// Source: keras.ops.normalize.
void unit_rows_forward(Context& ctx, ConstView x, View y);
/// d_x from the argument x; where the norm is below epsilon, d_y / epsilon. d_x may be d_y.
void unit_rows_backward(Context& ctx, ConstView x, ConstView d_y, View d_x);

}  // namespace grouphead::ops
