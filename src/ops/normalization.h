#pragma once

// Layer normalization. f32 through the kernels of the Context's level, f64 through the references.
// Tensors are contiguous unless said.

#include "ops/linear.h"

namespace grouphead::ops {

/// y = gamma (x - mean) rstd + beta over the last axis, rstd = 1 / sqrt(variance + epsilon).
/// Shapes  x, y [..., M]; gamma, beta [M]; mean, rstd: one element a row, or absent. y may be x.
///         The rows of a matrix x may lie apart.
void layer_norm_forward(Context& ctx, ConstView x, ConstView gamma, ConstView beta, double epsilon,
                        View y, View mean, View rstd);
/// d_x as told by `write`; d_gamma, d_beta += in fixed blocks of 64 rows. Absent: not computed.
void layer_norm_backward(Context& ctx, ConstView x, ConstView gamma, ConstView mean, ConstView rstd,
                         ConstView d_y, Write write, View d_x, View d_gamma, View d_beta);

}  // namespace grouphead::ops
