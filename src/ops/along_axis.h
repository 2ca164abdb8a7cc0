#pragma once

// Functions along one axis of contiguous tensors: choosing elements by index, running sums,
// sorting. Each line along the axis is one thread's. `axis` is counted from the front.

#include "ops/reduction.h"

namespace grouphead::ops {

/// y[.., j, ..] = x[.., indices[j], ..] of any type; `fill` (of an integer type the lowest value
/// where it is NaN) where the index is none of the axis.
void pick(Context& ctx, ConstView x, int axis, std::span<const Index> indices, double fill, View y);
/// d_x[.., indices[j], ..] += d_y[.., j, ..], ascending. f32 or f64.
void add_picked(Context& ctx, ConstView d_y, int axis, std::span<const Index> indices, View d_x);

/// y[.., j, ..] = x[.., indices[.., j, ..], ..]: `indices` (i64) has y's shape, which is x's but
/// for the axis. Negative ones count from the end; NaN, or the lowest integer, for those outside.
void pick_along(Context& ctx, ConstView x, int axis, ConstView indices, View y);
/// d_x[.., indices[.., j, ..], ..] += d_y[.., j, ..]. f32 or f64.
void add_picked_along(Context& ctx, ConstView d_y, int axis, ConstView indices, View d_x);

/// y[.., j, ..] = the sum (or product) of x[.., 0 to j, ..]; f32, f64 or i64, sums in double.
void cumulate(Context& ctx, bool multiplies, ConstView x, int axis, View y);
/// d_x of it added. f32 or f64.
void add_cumulated_gradient(Context& ctx, bool multiplies, ConstView x, ConstView d_y, int axis,
                            View d_x);

/// indices (i64) = the places that sort x; equal elements stay in order, NaN counts as largest.
/// Types f32, f64, i64 and bool.
void sort_order(Context& ctx, ConstView x, int axis, bool descends, View indices);
/// indices (i64, without the axis) = where the first extreme of each line is, or its first NaN.
void extreme_place(Context& ctx, Extreme extreme, ConstView x, int axis, View indices);

}  // namespace grouphead::ops
