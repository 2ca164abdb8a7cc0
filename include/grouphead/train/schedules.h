#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <typeindex>
#include <vector>

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

/// The same cosine again and again: period i is t_mul times as long as the one before, and starts
/// m_mul times as high. Source: keras.optimizers.schedules.CosineDecayRestarts; Loshchilov & Hutter
/// 2017, arXiv:1608.03983.
struct CosineDecayRestarts {
  double initial_learning_rate = 0;
  Index first_decay_steps = 0;
  double t_mul = 2;  ///< above 0
  double m_mul = 1;
  double alpha = 0;
  std::string name = "SGDRDecay";

  double operator()(Index step) const noexcept;
};

/// initial_learning_rate / (1 + decay_rate step / decay_steps), with `staircase` the whole part of
/// the quotient. Source: keras.optimizers.schedules.InverseTimeDecay.
struct InverseTimeDecay {
  double initial_learning_rate = 0;
  Index decay_steps = 0;
  double decay_rate = 0;
  bool staircase = false;
  std::string name = "InverseTimeDecay";

  double operator()(Index step) const noexcept;
};

/// values[i] up to the step boundaries[i], and the last value from there on.
/// Source: keras.optimizers.schedules.PiecewiseConstantDecay.
struct PiecewiseConstantDecay {
  std::vector<Index> boundaries{};  ///< 1 or more, ascending
  std::vector<double> values{};     ///< one more
  std::string name = "PiecewiseConstant";

  double operator()(Index step) const noexcept;
};

/// From initial_learning_rate to end_learning_rate by (1 - step / decay_steps)^power, then that;
/// with `cycle` over the next multiple of decay_steps.
/// Source: keras.optimizers.schedules.PolynomialDecay.
struct PolynomialDecay {
  double initial_learning_rate = 0;
  Index decay_steps = 0;
  double end_learning_rate = 1e-4;
  double power = 1;
  bool cycle = false;
  std::string name = "PolynomialDecay";

  double operator()(Index step) const noexcept;
};

/// A schedule of yours. Source: keras.optimizers.schedules.LearningRateSchedule.
class LearningRateSchedule {
 public:
  virtual ~LearningRateSchedule() = default;
  /// The rate of a step, from 0.
  virtual double operator()(Index step) const = 0;
  virtual ConfigValue get_config() const = 0;
};

namespace detail {
using ScheduleMaker =
    std::function<std::shared_ptr<const LearningRateSchedule>(const ConfigValue& config)>;
void register_schedule(const std::string& name, std::type_index type, ScheduleMaker make);
}  // namespace detail

/// Makes it known under `package>Class`, as register_loss() does a loss. The class has
///
///     static std::shared_ptr<MySchedule> from_config(const ConfigValue& config);
///
/// Errors: ConfigError for a name of another form, or that another class has.
template <class S>
void register_schedule(const std::string& name) {
  static_assert(std::is_base_of_v<LearningRateSchedule, S>);
  detail::register_schedule(name, typeid(S), [](const ConfigValue& config) {
    return std::shared_ptr<const LearningRateSchedule>(S::from_config(config));
  });
}

/// A learning rate: a number, a schedule, or any function of the step.
class LearningRate {
 public:
  using Function = std::function<double(Index step)>;
  using Own = std::shared_ptr<const LearningRateSchedule>;

  LearningRate(double rate);  // NOLINT(google-explicit-constructor)
  // Errors: ConfigError for steps below 1, or lists that do not belong together.
  LearningRate(const CosineDecay& schedule);             // NOLINT(google-explicit-constructor)
  LearningRate(const CosineDecayRestarts& schedule);     // NOLINT(google-explicit-constructor)
  LearningRate(const ExponentialDecay& schedule);        // NOLINT(google-explicit-constructor)
  LearningRate(const InverseTimeDecay& schedule);        // NOLINT(google-explicit-constructor)
  LearningRate(const PiecewiseConstantDecay& schedule);  // NOLINT(google-explicit-constructor)
  LearningRate(const PolynomialDecay& schedule);         // NOLINT(google-explicit-constructor)
  LearningRate(Function function);                       // NOLINT(google-explicit-constructor)
  LearningRate(Own schedule);                            // NOLINT(google-explicit-constructor)
  template <class S, std::enable_if_t<std::is_base_of_v<LearningRateSchedule, S>, int> = 0>
  LearningRate(std::shared_ptr<S> schedule)  // NOLINT(google-explicit-constructor)
      : LearningRate(Own(std::move(schedule))) {}
  /// A number or Keras's envelope of a schedule. Errors: ConfigError.
  static LearningRate from_config(const ConfigValue& identifier);

  double operator()(Index step) const;
  /// Whether it is a plain number, which a callback may change.
  bool is_number() const noexcept;
  /// A number or Keras's envelope. Errors: ConfigError for a function, which no file can hold, and
  /// for a schedule that was not registered.
  ConfigValue config() const;

 private:
  struct Form;
  std::shared_ptr<const Form> form_;
};

}  // namespace grouphead
#pragma GCC visibility pop
