#pragma once

// Losses over rows of numbers: each row gives one value and, where wanted, its gradient times the
// row's weight. f32 or f64, everything contiguous; rows are independent, so no thread changes bits.

#include "grouphead/train/losses.h"

namespace grouphead::ops {

/// The mean over a row of f(prediction - target).
enum class ErrorNorm : std::uint8_t { squared, absolute, huber };
void error_loss(Context& ctx, const LossRows& rows, ErrorNorm norm, double delta);

/// Where the probabilities of a cross entropy come from, and what becomes of its targets:
/// t scale + shift, for label smoothing.
struct CrossentropyOptions {
  bool from_logits = false;
  double target_scale = 1;
  double target_shift = 0;
};
/// The mean over a row of -t log p - (1 - t) log(1 - p).
void binary_cross_entropy(Context& ctx, const LossRows& rows, const CrossentropyOptions& options);
/// -sum over a row of t log p.
void categorical_cross_entropy(Context& ctx, const LossRows& rows,
                               const CrossentropyOptions& options);
/// -log p[label]; labels in [0, C).
void sparse_cross_entropy(Context& ctx, const LossRows& rows, bool from_logits);

/// The mean over a row of a function of each prediction and its target.
enum class ElementLoss : std::uint8_t {
  percentage,     ///< 100 |t - x| / max(|t|, 1e-7)
  logarithmic,    ///< (log(x + 1) - log(t + 1))^2, both 1e-7 at least
  log_cosh,       ///< log(cosh(x - t))
  hinge,          ///< max(1 - t x, 0); targets that are all 0 and 1 stand for -1 and 1
  squared_hinge,  ///< the same, squared
  poisson,        ///< x - t log(x + 1e-7)
};
void element_loss(Context& ctx, const LossRows& rows, ElementLoss kind);

/// One formula for each row.
enum class VectorLoss : std::uint8_t {
  cosine,             ///< minus the cosine of x and t
  categorical_hinge,  ///< max(max((1 - t) x) - sum(t x) + 1, 0)
  kl_divergence,      ///< sum of t log(t / x), both cut to [1e-7, 1]
};
void vector_loss(Context& ctx, const LossRows& rows, VectorLoss kind);

/// Cross entropies times alpha (1 - p)^gamma.
struct FocalOptions {
  CrossentropyOptions crossentropy{};
  double alpha = 0.25;
  double gamma = 2;
  bool is_balanced = false;  ///< binary: by t alpha + (1 - t) (1 - alpha)
};
void binary_focal_cross_entropy(Context& ctx, const LossRows& rows, const FocalOptions& options);
void categorical_focal_cross_entropy(Context& ctx, const LossRows& rows,
                                     const FocalOptions& options);

/// (1 - p[label]^q) / q.
void generalized_cross_entropy(Context& ctx, const LossRows& rows, double q);

/// 1 - I / (I + alpha sum(t (1 - x)) + beta sum(x (1 - t)) + epsilon) with I = sum(t x).
struct OverlapOptions {
  double alpha, beta, epsilon;
};
void overlap_loss(Context& ctx, const LossRows& rows, const OverlapOptions& options);

/// -log of the probability of row's labels, of logits [T, classes] in each row; targets [rows, L]
/// of classes, 0 the blank. As many count as are not 0.
void ctc_loss(Context& ctx, const LossRows& rows);

/// Of each row's distances to all the others: those of its label shall be small. Labels are any.
struct CircleOptions {
  double gamma = 80;
  double margin = 0.4;
  bool remove_diagonal = true;  ///< a row is no pair with itself
};
void circle_loss(Context& ctx, const LossRows& rows, const CircleOptions& options);

}  // namespace grouphead::ops
