#include "grouphead/train/schedules.h"

#include <cmath>
#include <numbers>

#include "core/check.h"
#include "core/number_text.h"
#include "nn/config_reader.h"

namespace grouphead {
namespace {

constexpr std::string_view kModule = "keras.optimizers.schedules";

void require_steps(std::string_view schedule, Index decay_steps) {
  if (decay_steps > 0) return;
  detail::throw_config_error(schedule, "decay_steps", "1 or more", std::to_string(decay_steps));
}

ExponentialDecay exponential_decay(const ConfigValue& config) {
  nn::ConfigReader reader("ExponentialDecay", config);
  ExponentialDecay schedule{
      .initial_learning_rate = reader.value("initial_learning_rate").as_number("rate"),
      .decay_steps = reader.value("decay_steps").as_integer("decay_steps"),
      .decay_rate = reader.value("decay_rate").as_number("decay_rate"),
      .staircase = reader.boolean("staircase", false),
      .name = reader.name("ExponentialDecay")};
  reader.finish();
  return schedule;
}

CosineDecay cosine_decay(const ConfigValue& config) {
  nn::ConfigReader reader("CosineDecay", config);
  CosineDecay schedule{
      .initial_learning_rate = reader.value("initial_learning_rate").as_number("rate"),
      .decay_steps = reader.value("decay_steps").as_integer("decay_steps"),
      .alpha = reader.number("alpha", 0),
      .warmup_steps = reader.integer("warmup_steps", 0),
      .name = reader.name("CosineDecay")};
  const ConfigValue& target = reader.value("warmup_target");
  if (!target.is_null()) schedule.warmup_target = target.as_number("warmup_target");
  reader.finish();
  return schedule;
}

struct ConfigOf {
  ConfigValue operator()(double rate) const { return rate; }
  ConfigValue operator()(const ExponentialDecay& s) const {
    return config_envelope(kModule, "ExponentialDecay",
                           ConfigValue::Object{{"initial_learning_rate", s.initial_learning_rate},
                                               {"decay_steps", s.decay_steps},
                                               {"decay_rate", s.decay_rate},
                                               {"staircase", s.staircase},
                                               {"name", s.name}});
  }
  ConfigValue operator()(const CosineDecay& s) const {
    return config_envelope(
        kModule, "CosineDecay",
        ConfigValue::Object{
            {"initial_learning_rate", s.initial_learning_rate},
            {"decay_steps", s.decay_steps},
            {"alpha", s.alpha},
            {"name", s.name},
            {"warmup_target", s.warmup_target ? ConfigValue(*s.warmup_target) : ConfigValue()},
            {"warmup_steps", s.warmup_steps}});
  }
  ConfigValue operator()(const LearningRate::Function& /*function*/) const {
    detail::throw_config_error("optimizer", "learning_rate",
                               "a number or a schedule, for a configuration", "a function");
  }
};

}  // namespace

double ExponentialDecay::operator()(Index step) const noexcept {
  const double periods = static_cast<double>(step) / static_cast<double>(decay_steps);
  return initial_learning_rate * std::pow(decay_rate, staircase ? std::floor(periods) : periods);
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

LearningRate::LearningRate(double rate) : rate_(rate) {
  if (rate >= 0 && std::isfinite(rate)) return;
  detail::throw_config_error("optimizer", "learning_rate", "a finite number of 0 or more",
                             detail::number_text(rate));
}
LearningRate::LearningRate(const ExponentialDecay& schedule) : rate_(schedule) {
  require_steps(schedule.name, schedule.decay_steps);
}
LearningRate::LearningRate(const CosineDecay& schedule) : rate_(schedule) {
  require_steps(schedule.name, schedule.decay_steps);
}
LearningRate::LearningRate(Function function) : rate_(std::move(function)) {}

LearningRate LearningRate::from_config(const ConfigValue& identifier) {
  if (identifier.is_number()) return identifier.as_number("learning_rate");
  const std::string& class_name = identifier["class_name"].as_string("learning_rate");
  if (class_name == "ExponentialDecay") return exponential_decay(identifier["config"]);
  if (class_name == "CosineDecay") return cosine_decay(identifier["config"]);
  detail::throw_config_error("optimizer", "learning_rate",
                             "a number, ExponentialDecay or CosineDecay", class_name);
}

double LearningRate::operator()(Index step) const {
  if (const auto* rate = std::get_if<double>(&rate_)) return *rate;
  if (const auto* schedule = std::get_if<ExponentialDecay>(&rate_)) return (*schedule)(step);
  if (const auto* schedule = std::get_if<CosineDecay>(&rate_)) return (*schedule)(step);
  return std::get<Function>(rate_)(step);
}

ConfigValue LearningRate::config() const { return std::visit(ConfigOf{}, rate_); }

}  // namespace grouphead
