#pragma once

#include "grouphead/core/context.h"

namespace grouphead::ops {

/// y = mean of x over time. Shapes  x [B, T, M] contiguous, T >= 1; y [B, M] contiguous; f32 or
/// f64.
void mean_over_time_forward(Context& ctx, ConstView x, View y);
/// d_x = d_y / T at every time step. Shapes  d_y [B, M], d_x [B, T, M], contiguous.
void mean_over_time_backward(Context& ctx, ConstView d_y, View d_x);

}  // namespace grouphead::ops
