#pragma once

// Optimizer steps. f32 through the kernels of the Context's level, f64 through the references.
// Tensors are contiguous unless said.

#include "grouphead/core/context.h"

namespace grouphead::ops {

struct AdamWStep {
  double decay;  ///< w -= decay w, first
  double alpha;  ///< lr with bias correction
  double beta_1, beta_2, epsilon;
  double gradient_scale;  ///< from clipping; 1: none
};
/// One AdamW update of w with moments m and v. Source: keras.optimizers.AdamW.
void adamw(Context& ctx, const AdamWStep& step, ConstView gradient, View w, View m, View v);
/// The same with v_hat = max(v_hat, v) in v's place in the step.
void amsgrad(Context& ctx, const AdamWStep& step, ConstView gradient, View w, View m, View v,
             View v_hat);

struct SgdStep {
  double learning_rate;
  double decay;
  double momentum;
  bool nesterov;
  double gradient_scale;
};
/// One step of w with velocity m; without m plain gradient descent. Source: keras.optimizers.SGD.
void sgd(Context& ctx, const SgdStep& step, ConstView gradient, View w, View m);

}  // namespace grouphead::ops
