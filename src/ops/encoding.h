#pragma once

// Rows of numbers for categories.

#include "grouphead/core/context.h"

namespace grouphead::ops {

/// y[..., d] = 1 where ids[...] == d, else 0. ids i64, y f32 or f64 [..., depth].
void one_hot(Context& ctx, ConstView ids, View y);
/// y[o, i, d] = 1 where ids [O, N, I] has d for one n; with `counts` how often, each time by its
/// weight where `weights` [O, N, I] (of y's type) is present. y [O, I, depth].
void many_hot(Context& ctx, ConstView ids, ConstView weights, bool counts, View y);
/// d_weights += d_y at the categories.
void many_hot_backward(Context& ctx, ConstView ids, ConstView d_y, View d_weights);
/// ids (i64) = x (f64) where it is whole, else -1, which is no category.
void whole_numbers(Context& ctx, ConstView x, View ids);

}  // namespace grouphead::ops
