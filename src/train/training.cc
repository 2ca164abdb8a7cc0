#include "grouphead/train/training.h"

namespace grouphead {

double loss_and_gradients(Context& ctx, const Layer& model, Grads& grads, const Tensor& x,
                          const Tensor& target, const Loss& loss, RandomStream* random) {
  const Value in{x, {}};
  const Mode mode{.training = true, .random = random};
  std::unique_ptr<Saved> saved;
  const std::vector<Value> out = model.forward(ctx, std::span(&in, 1), mode, &saved);
  const LossResult result =
      loss->value_and_gradient(ctx, {.target = target, .prediction = out[0].tensor});
  const ConstView d_out = result.d_prediction;
  View no_input_gradient;
  grads.zero();
  model.backward(ctx, *saved, std::span(&d_out, 1), std::span(&no_input_gradient, 1), grads);
  return result.value;
}

double train_step(Context& ctx, const Layer& model, Optimizer& optimizer, Grads& grads,
                  const Tensor& x, const Tensor& target, const Loss& loss, RandomStream* random) {
  const double value = loss_and_gradients(ctx, model, grads, x, target, loss, random);
  optimizer.step(ctx, grads);
  return value;
}

}  // namespace grouphead
