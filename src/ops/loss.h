#pragma once

// Softmax cross-entropy. f32 through the kernels of the Context's level, f64 through the
// references. Tensors are contiguous unless said.

#include "grouphead/core/context.h"

namespace grouphead::ops {

/// Mean of -log softmax(logits)[label] over the rows, and lse [rows] for the backward (absent: not
/// kept). Shapes  logits [rows, V], labels [rows] i32. Errors: ShapeError for a bad label.
double softmax_cross_entropy_forward(Context& ctx, ConstView logits, ConstView labels, View lse);
/// What rows are multiplied by: one number, or one each (f64 [rows]; a row of 0 gives zeros, even
/// for NaN).
struct RowScale {
  RowScale(double uniform_scale) : uniform(uniform_scale) {}  // NOLINT(google-explicit-constructor)
  explicit RowScale(ConstView scales) : of_rows(scales) {}
  double uniform = 1;
  ConstView of_rows{};
};
/// d_logits = (softmax(logits) - onehot(label)) * scale; d_logits may be logits.
void softmax_cross_entropy_backward(Context& ctx, ConstView logits, ConstView labels, ConstView lse,
                                    const RowScale& scale, View d_logits);

}  // namespace grouphead::ops
