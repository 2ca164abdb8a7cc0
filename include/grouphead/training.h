#pragma once

#include <optional>
#include <span>
#include <vector>

#include "grouphead/layer.h"

namespace grouphead {

/// A loss averaged over all its elements, and its gradient for the layer's output.
struct Loss {
  double value = 0;
  Tensor d_prediction{};
};

/// Mean of -log softmax(logits)[label]: logits [..., V], labels [...] (i32), natural logarithm.
/// Errors: ShapeError, also for a label outside [0, V).
/// Source: keras.losses.SparseCategoricalCrossentropy(from_logits=True).
Loss sparse_categorical_crossentropy(Context& ctx, ConstView logits, ConstView labels);
/// Mean of (prediction - target)^2 over equal shapes. Source: keras.losses.MeanSquaredError.
Loss mean_squared_error(Context& ctx, ConstView prediction, ConstView target);

/// Names and defaults are Keras's.
struct AdamWConfig {
  double learning_rate = 1e-3;
  double weight_decay = 4e-3;
  double beta_1 = 0.9;
  double beta_2 = 0.999;
  double epsilon = 1e-7;
  std::optional<double> global_clipnorm{};  ///< scales all gradients so that their joint norm fits
};

/// w -= lr (weight_decay w), then Adam with the bias correction of Keras:
/// alpha = lr sqrt(1 - beta_2^t) / (1 - beta_1^t); w -= alpha m / (sqrt(v) + epsilon).
/// Source: keras.optimizers.AdamW; Loshchilov & Hutter 2019, arXiv:1711.05101.
class AdamW {
 public:
  /// Keeps moments, zero at the start, for each trainable parameter; the others are left out.
  /// Errors: ConfigError for rates outside their ranges.
  AdamW(const ParameterList& parameters, const AdamWConfig& config);
  /// One step with config.learning_rate, or the given one. Returns the gradients' joint norm
  /// before clipping.
  double step(Context& ctx, Grads& grads, std::optional<double> learning_rate = {});

  Index iterations() const noexcept { return iterations_; }
  void set_iterations(Index iterations) noexcept { iterations_ = iterations; }
  const ParameterList& parameters() const noexcept { return parameters_; }
  /// First and second moments, in the order of parameters().
  std::vector<Tensor>& momentums() noexcept { return momentums_; }
  std::vector<Tensor>& velocities() noexcept { return velocities_; }

 private:
  ParameterList parameters_;
  AdamWConfig config_;
  std::vector<Tensor> momentums_;
  std::vector<Tensor> velocities_;
  Index iterations_ = 0;
};

/// Linear warm-up from `initial_learning_rate` to `warmup_target`, then a cosine down to
/// alpha * warmup_target. Source: keras.optimizers.schedules.CosineDecay.
struct CosineDecay {
  double initial_learning_rate = 0;
  Index decay_steps = 0;
  double alpha = 0;
  std::optional<double> warmup_target{};
  Index warmup_steps = 0;

  double operator()(Index step) const noexcept;
};

/// The loss of one batch and, in `grads`, its gradients. `loss(ctx, prediction, target)` is one of
/// the functions above or the caller's own.
template <class LossFunction>
double loss_and_gradients(Context& ctx, const Layer& model, Grads& grads, const Tensor& x,
                          const Tensor& target, LossFunction&& loss,
                          RandomStream* random = nullptr) {
  const Value in{x, {}};
  const Mode mode{.training = true, .random = random};
  std::unique_ptr<Saved> saved;
  const std::vector<Value> out = model.forward(ctx, std::span(&in, 1), mode, &saved);
  const Loss result = loss(ctx, out[0].tensor, target);
  const ConstView d_out = result.d_prediction;
  View no_input_gradient;
  grads.zero();
  model.backward(ctx, *saved, std::span(&d_out, 1), std::span(&no_input_gradient, 1), grads);
  return result.value;
}

/// loss_and_gradients() and an optimizer step. Returns the loss before the step.
template <class LossFunction>
double train_step(Context& ctx, const Layer& model, AdamW& optimizer, Grads& grads, const Tensor& x,
                  const Tensor& target, LossFunction&& loss, RandomStream* random = nullptr) {
  const double value = loss_and_gradients(ctx, model, grads, x, target, loss, random);
  optimizer.step(ctx, grads);
  return value;
}

}  // namespace grouphead
