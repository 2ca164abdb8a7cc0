#pragma once

#include <functional>
#include <optional>
#include <string>
#include <variant>

#include "grouphead/core/config_value.h"

#pragma GCC visibility push(default)
namespace grouphead {

/// initial_learning_rate decay_rate^(step / decay_steps), with `staircase` the whole part of the
/// exponent. Source: keras.optimizers.schedules.ExponentialDecay.
struct ExponentialDecay {
  double initial_learning_rate = 0;
  Index decay_steps = 0;
  double decay_rate = 0;
  bool staircase = false;
  std::string name = "ExponentialDecay";

  double operator()(Index step) const noexcept;
};

/// Linear warm-up from `initial_learning_rate` to `warmup_target`, then a cosine down to
/// alpha * warmup_target. Source: keras.optimizers.schedules.CosineDecay.
struct CosineDecay {
  double initial_learning_rate = 0;
  Index decay_steps = 0;
  double alpha = 0;
  std::optional<double> warmup_target{};
  Index warmup_steps = 0;
  std::string name = "CosineDecay";

  double operator()(Index step) const noexcept;
};

/// A learning rate: a number, a schedule, or any function of the step.
class LearningRate {
 public:
  using Function = std::function<double(Index step)>;

  LearningRate(double rate);                       // NOLINT(google-explicit-constructor)
  LearningRate(const ExponentialDecay& schedule);  // NOLINT(google-explicit-constructor)
  LearningRate(const CosineDecay& schedule);       // NOLINT(google-explicit-constructor)
  LearningRate(Function function);                 // NOLINT(google-explicit-constructor)
  /// A number or Keras's envelope of a schedule. Errors: ConfigError.
  static LearningRate from_config(const ConfigValue& identifier);

  double operator()(Index step) const;
  /// Whether it is a plain number, which a callback may change.
  bool is_number() const noexcept { return std::holds_alternative<double>(rate_); }
  /// A number or Keras's envelope. Errors: ConfigError for a function, which no file can hold.
  ConfigValue config() const;

 private:
  std::variant<double, ExponentialDecay, CosineDecay, Function> rate_;
};

}  // namespace grouphead
#pragma GCC visibility pop
