#pragma once

// The largest and the mean of windows over x [B, H, W, M], channel by channel. Tensors are
// contiguous, f32 or f64. Windows take the elements that exist.

#include "grouphead/core/context.h"
#include "ops/windows.h"

namespace grouphead::ops {

/// y [B, H', W', M]; NaN where a window has one.
void max_pool_forward(Context& ctx, const Windows& windows, ConstView x, View y);
/// d_x += d_y at the first of the largest elements, row by row.
void max_pool_backward(Context& ctx, const Windows& windows, ConstView x, ConstView d_y, View d_x);

void average_pool_forward(Context& ctx, const Windows& windows, ConstView x, View y);
void average_pool_backward(Context& ctx, const Windows& windows, ConstView d_y, View d_x);

}  // namespace grouphead::ops
