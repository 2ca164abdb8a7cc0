#pragma once

// Rows of length 1. Tensors are contiguous, f32 or f64.

#include "grouphead/core/context.h"

namespace grouphead::ops {

/// y = x / |x| of each row of x [R, M], and y = 1e12 x of rows shorter than 1e-12.
void unit_norm_forward(Context& ctx, ConstView x, View y);
/// d_x += what the gradients d_y give.
void unit_norm_backward(Context& ctx, ConstView x, ConstView d_y, View d_x);

}  // namespace grouphead::ops
