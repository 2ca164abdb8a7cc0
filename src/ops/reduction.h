#pragma once

// Reductions over any axes. The result has x's rank with size 1 on the axes that are reduced, or
// fewer axes, aligned at the last one. Every element of the result is made by one thread, over the
// reduced elements in row-major order; sums are kept in double.

#include "ops/linear.h"

namespace grouphead::ops {

/// y = scale * sum of x, or y += with Write::add. x and y f32 or f64, each of its own type.
void sum_to(Context& ctx, ConstView x, double scale, Write write, View y);
/// The sum of integers (i64), or the number of true elements (bool) as i64.
void count_to(Context& ctx, ConstView x, View y);

enum class Extreme : std::uint8_t { max, min };
/// y = the largest or smallest of x, NaN if there is one. Types f32, f64, i64 or bool (any and all
/// are the max and min of bools). Errors: ShapeError for numbers without an element to reduce.
void extreme_to(Context& ctx, Extreme extreme, ConstView x, View y);
/// d_x += d_y / n at the n elements of x that equal y. f32 or f64.
void add_extreme_gradient(Context& ctx, ConstView x, ConstView y, ConstView d_y, View d_x);

}  // namespace grouphead::ops
