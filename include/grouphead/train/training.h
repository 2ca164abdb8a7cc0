#pragma once

#include <memory>
#include <span>
#include <vector>

#include "grouphead/layers/layer.h"
#include "grouphead/train/losses.h"
#include "grouphead/train/optimizers.h"

namespace grouphead {

/// The loss of one batch and, in `grads`, its gradients: a model of one input and one output, as
/// forward() computes it, without penalties. fit.h has the whole of it.
double loss_and_gradients(Context& ctx, const Layer& model, Grads& grads, const Tensor& x,
                          const Tensor& target, const Loss& loss, RandomStream* random = nullptr);

/// loss_and_gradients() and an optimizer step. Returns the loss before the step.
double train_step(Context& ctx, const Layer& model, Optimizer& optimizer, Grads& grads,
                  const Tensor& x, const Tensor& target, const Loss& loss,
                  RandomStream* random = nullptr);

}  // namespace grouphead
