#pragma once

// Normalization of the columns of x [R, C]. Vectors of C have x's type, f32 or f64; tensors are
// contiguous. Sums are kept in double, over fixed blocks of rows in ascending order.

#include "ops/linear.h"

namespace grouphead::ops {

/// mean and (biased) variance of each column, of its elements whose `mask` (bool [R, C]; absent:
/// all) is true, and how many these are. Sums of masked columns are divided by count + 1e-7.
void column_moments(Context& ctx, ConstView x, ConstView mask, View mean, View variance,
                    View count);

/// y = ((x - mean) / sqrt(variance + epsilon) * stretch + shift) * gamma + beta.
/// Absent: stretch and gamma 1, shift and beta 0.
struct ColumnNorm {
  ConstView mean{}, variance{};
  ConstView stretch{}, shift{};
  ConstView gamma{}, beta{};
  double epsilon = 0;
};
void column_norm_forward(Context& ctx, const ColumnNorm& norm, ConstView x, View y);

/// Where mean and variance come from: column_moments() of x, if there is a count.
struct ColumnSource {
  ConstView count{}, mask{};
};
/// Adds to d_x [R, C], d_gamma and d_beta [C]; each may be absent. stretch and shift are constants.
void column_norm_backward(Context& ctx, const ColumnNorm& norm, const ColumnSource& source,
                          ConstView x, ConstView d_y, View d_x, View d_gamma, View d_beta);

/// y = (x - mean) rstd gamma + beta with x [B, R, C], whose columns form G groups of neighbours:
/// mean and rstd = 1 / sqrt(variance + epsilon), [B, G], of each entry and group. gamma and beta
/// [C] may be absent: 1 and 0.
void group_norm_forward(Context& ctx, ConstView x, ConstView gamma, ConstView beta, double epsilon,
                        View y, View mean, View rstd);
/// Adds to d_x, d_gamma and d_beta; each may be absent.
void group_norm_backward(Context& ctx, ConstView x, ConstView gamma, ConstView mean, ConstView rstd,
                         ConstView d_y, View d_x, View d_gamma, View d_beta);

struct RenormLimits {
  double rmin, rmax, dmax;
};
/// Batch renormalization's corrections of a batch's statistics by moving ones:
/// stretch = deviation / moving, shift = (mean - moving mean) / moving, within the limits; the
/// moving deviation counts as sqrt(epsilon) at least. Source: Ioffe 2017.
void renorm_corrections(ConstView mean, ConstView deviation, ConstView moving_mean,
                        ConstView moving_deviation, double epsilon, const RenormLimits& limits,
                        View stretch, View shift);

/// y = sqrt(x + a).
void deviations(ConstView x, double a, View y);
/// y = max(x^2 - a, 0).
void variances(ConstView x, double a, View y);

}  // namespace grouphead::ops
