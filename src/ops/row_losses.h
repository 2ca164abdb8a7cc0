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

}  // namespace grouphead::ops
