#pragma once

#include "ops/linear.h"

namespace grouphead::ops {

/// What the size of a row is measured about: 0 (root mean square) or its mean (deviation).
enum class MeasuredAbout : std::uint8_t { zero, mean };

/// y = gamma x s, s = 1 / sqrt(mean((x - c)^2) + epsilon) for each row, c = 0 or the row's mean.
/// Shapes  x, y [rows, M]; gamma [M]; center, scale [rows], for the backward. f32 or f64,
///         contiguous; the rows of a matrix x may lie apart
void rms_norm_forward(Context& ctx, ConstView x, ConstView gamma, MeasuredAbout about,
                      double epsilon, View y, View center, View scale);
/// d_x as told by `write`; d_gamma += in ascending rows. Absent: not computed.
void rms_norm_backward(Context& ctx, ConstView x, ConstView gamma, ConstView center,
                       ConstView scale, ConstView d_y, Write write, View d_x, View d_gamma);

}  // namespace grouphead::ops
