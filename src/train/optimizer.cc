#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/check.h"
#include "grouphead/training.h"
#include "ops/elementwise.h"

namespace grouphead {
namespace {

void require_rate(std::string_view option, double value, double limit) {
  if (value >= 0 && value < limit) return;
  detail::throw_config_error("adamw", option,
                             limit == 1 ? "a number in [0, 1)" : "a finite number of 0 or more",
                             std::to_string(value));
}

void check(const AdamWConfig& config) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  require_rate("learning_rate", config.learning_rate, kInfinity);
  require_rate("weight_decay", config.weight_decay, kInfinity);
  require_rate("beta_1", config.beta_1, 1);
  require_rate("beta_2", config.beta_2, 1);
  require_rate("epsilon", config.epsilon, kInfinity);
  if (config.global_clipnorm && !(*config.global_clipnorm > 0)) {
    detail::throw_config_error("adamw", "global_clipnorm", "a number above 0",
                               std::to_string(*config.global_clipnorm));
  }
}

// clip_norm * min(1 / norm, 1 / clip_norm), NaN for a norm that is not finite.
// Source: keras.optimizers.Optimizer, clip_by_global_norm.
double clipping_scale(double norm, std::optional<double> clip_norm) {
  if (!clip_norm) return 1;
  return *clip_norm * std::min(1 / norm, 1 / *clip_norm) + (norm - norm);
}

}  // namespace

AdamW::AdamW(const ParameterList& parameters, const AdamWConfig& config) : config_(config) {
  check(config);
  for (const NamedParameter& named : parameters) {
    if (!named.parameter->trainable()) continue;
    parameters_.push_back(named);
    momentums_.push_back(Tensor::zeros(named.parameter->shape(), named.parameter->dtype()));
    velocities_.push_back(Tensor::zeros(named.parameter->shape(), named.parameter->dtype()));
  }
}

double AdamW::step(Context& ctx, Grads& grads, std::optional<double> learning_rate) {
  double squares = 0;
  for (const NamedParameter& named : parameters_) {
    const View gradient = grads.of(*named.parameter);
    if (!gradient.has_value()) {
      detail::throw_config_error("adamw", named.path, "a gradient in grads", "none");
    }
    squares += ops::sum_of_squares(ctx, gradient);
  }
  const double norm = std::sqrt(squares);

  const double lr = learning_rate.value_or(config_.learning_rate);
  const auto t = static_cast<double>(++iterations_);
  const ops::AdamWStep step{
      .learning_rate = lr,
      .alpha = lr * std::sqrt(1 - std::pow(config_.beta_2, t)) / (1 - std::pow(config_.beta_1, t)),
      .weight_decay = config_.weight_decay,
      .beta_1 = config_.beta_1,
      .beta_2 = config_.beta_2,
      .epsilon = config_.epsilon,
      .gradient_scale = clipping_scale(norm, config_.global_clipnorm)};
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    Parameter& parameter = *parameters_[i].parameter;
    ops::adamw(ctx, step, grads.of(parameter), parameter.edit(), momentums_[i], velocities_[i]);
  }
  return norm;
}

double CosineDecay::operator()(Index step) const noexcept {
  const auto cosine = [this](Index from_start, double from) {
    const double fraction =
        static_cast<double>(std::min(from_start, decay_steps)) / static_cast<double>(decay_steps);
    const double decayed = 0.5 * (1 + std::cos(std::numbers::pi * fraction));
    return from * ((1 - alpha) * decayed + alpha);
  };
  if (!warmup_target) return cosine(step, initial_learning_rate);
  if (step < warmup_steps) {
    const double fraction = static_cast<double>(step) / static_cast<double>(warmup_steps);
    return initial_learning_rate + (*warmup_target - initial_learning_rate) * fraction;
  }
  return cosine(step - warmup_steps, *warmup_target);
}

}  // namespace grouphead
