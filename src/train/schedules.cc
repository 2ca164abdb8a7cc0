#include "grouphead/train/schedules.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <variant>

#include "core/check.h"
#include "core/number_text.h"
#include "nn/config_reader.h"
#include "nn/own_classes.h"

namespace grouphead {
namespace {

constexpr std::string_view kModule = "keras.optimizers.schedules";

// ---- Fields, in Keras's order: visit(key, field, whether Keras has no default) -----------------

template <class V>
void visit_fields(CosineDecay& s, V&& visit) {
  visit("initial_learning_rate", s.initial_learning_rate, true);
  visit("decay_steps", s.decay_steps, true);
  visit("alpha", s.alpha, false);
  visit("name", s.name, false);
  visit("warmup_target", s.warmup_target, false);
  visit("warmup_steps", s.warmup_steps, false);
}
template <class V>
void visit_fields(CosineDecayRestarts& s, V&& visit) {
  visit("initial_learning_rate", s.initial_learning_rate, true);
  visit("first_decay_steps", s.first_decay_steps, true);
  visit("t_mul", s.t_mul, false);
  visit("m_mul", s.m_mul, false);
  visit("alpha", s.alpha, false);
  visit("name", s.name, false);
}
/// ExponentialDecay and InverseTimeDecay.
template <class Schedule, class V>
requires requires(Schedule& s) { s.staircase; }
void visit_fields(Schedule& s, V&& visit) {
  visit("initial_learning_rate", s.initial_learning_rate, true);
  visit("decay_steps", s.decay_steps, true);
  visit("decay_rate", s.decay_rate, true);
  visit("staircase", s.staircase, false);
  visit("name", s.name, false);
}
template <class V>
void visit_fields(PiecewiseConstantDecay& s, V&& visit) {
  visit("boundaries", s.boundaries, true);
  visit("values", s.values, true);
  visit("name", s.name, false);
}
template <class V>
void visit_fields(PolynomialDecay& s, V&& visit) {
  visit("initial_learning_rate", s.initial_learning_rate, true);
  visit("decay_steps", s.decay_steps, true);
  visit("end_learning_rate", s.end_learning_rate, false);
  visit("power", s.power, false);
  visit("cycle", s.cycle, false);
  visit("name", s.name, false);
}

template <class Schedule>
constexpr std::string_view kClass = "";
template <>
constexpr std::string_view kClass<CosineDecay> = "CosineDecay";
template <>
constexpr std::string_view kClass<CosineDecayRestarts> = "CosineDecayRestarts";
template <>
constexpr std::string_view kClass<ExponentialDecay> = "ExponentialDecay";
template <>
constexpr std::string_view kClass<InverseTimeDecay> = "InverseTimeDecay";
template <>
constexpr std::string_view kClass<PiecewiseConstantDecay> = "PiecewiseConstantDecay";
template <>
constexpr std::string_view kClass<PolynomialDecay> = "PolynomialDecay";

// ---- Reading and writing -----------------------------------------------------------------------

void assign(const ConfigValue& value, std::string_view key, double& field) {
  field = value.as_number(key);
}
void assign(const ConfigValue& value, std::string_view key, Index& field) {
  field = value.as_integer(key);
}
void assign(const ConfigValue& value, std::string_view key, bool& field) {
  field = value.as_bool(key);
}
void assign(const ConfigValue& value, std::string_view key, std::string& field) {
  field = value.as_string(key);
}
void assign(const ConfigValue& value, std::string_view key, std::optional<double>& field) {
  field = value.as_number(key);
}
void assign(const ConfigValue& value, std::string_view key, std::vector<double>& field) {
  for (const ConfigValue& each : value.as_list(key)) field.push_back(each.as_number(key));
}
// Keras cuts boundaries off to whole steps.
void assign(const ConfigValue& value, std::string_view key, std::vector<Index>& field) {
  constexpr double kLargest = 0x1p62;
  for (const ConfigValue& each : value.as_list(key)) {
    field.push_back(static_cast<Index>(std::clamp(each.as_number(key), -kLargest, kLargest)));
  }
}

ConfigValue written(double value) { return value; }
ConfigValue written(Index value) { return value; }
ConfigValue written(bool value) { return value; }
ConfigValue written(const std::string& value) { return value; }
ConfigValue written(const std::optional<double>& value) {
  return value ? ConfigValue(*value) : ConfigValue();
}
template <class T>
ConfigValue written(const std::vector<T>& values) {
  return ConfigValue::List(values.begin(), values.end());
}

template <class Schedule>
LearningRate read(const ConfigValue& config) {
  nn::ConfigReader reader(kClass<Schedule>, config);
  Schedule schedule;
  visit_fields(schedule, [&](std::string_view key, auto& field, bool is_needed) {
    const ConfigValue& value = reader.value(key);
    if (is_needed || !value.is_null()) assign(value, key, field);
  });
  reader.finish();
  return schedule;
}

nn::OwnClasses<detail::ScheduleMaker>& own_schedules() {
  static nn::OwnClasses<detail::ScheduleMaker> schedules("register_schedule");
  return schedules;
}

struct ConfigOf {
  ConfigValue operator()(double rate) const { return rate; }
  template <class Schedule>
  ConfigValue operator()(const Schedule& schedule) const {
    ConfigValue config = ConfigValue::Object{};
    Schedule copy = schedule;
    visit_fields(copy, [&](std::string_view key, const auto& field, bool /*is_needed*/) {
      config.set(key, written(field));
    });
    return config_envelope(kModule, kClass<Schedule>, std::move(config));
  }
  ConfigValue operator()(const LearningRate::Function& /*function*/) const {
    core::throw_config_error("optimizer", "learning_rate",
                             "a number or a schedule, for a configuration", "a function");
  }
  ConfigValue operator()(const LearningRate::Own& schedule) const {
    const LearningRateSchedule& own = *schedule;
    const std::string name = own_schedules().name_of(typeid(own));
    if (!name.empty()) return nn::own_envelope(name, own.get_config());
    core::throw_config_error("optimizer", "learning_rate",
                             "a schedule of register_schedule(), for a configuration", "another");
  }
};

struct Entry {
  std::string_view class_name;
  LearningRate (*read)(const ConfigValue& config);
};
constexpr Entry kEntries[] = {
    {kClass<CosineDecay>, read<CosineDecay>},
    {kClass<CosineDecayRestarts>, read<CosineDecayRestarts>},
    {kClass<ExponentialDecay>, read<ExponentialDecay>},
    {kClass<InverseTimeDecay>, read<InverseTimeDecay>},
    {kClass<PiecewiseConstantDecay>, read<PiecewiseConstantDecay>},
    {kClass<PolynomialDecay>, read<PolynomialDecay>},
};

template <class Schedule>
const Schedule& with_steps(std::string_view key, Index steps, const Schedule& schedule) {
  if (steps > 0) return schedule;
  core::throw_config_error(schedule.name, key, "1 or more", std::to_string(steps));
}

double quotient(Index a, Index b) noexcept {
  return static_cast<double>(a) / static_cast<double>(b);
}

}  // namespace

double ExponentialDecay::operator()(Index step) const noexcept {
  const double periods = quotient(step, decay_steps);
  return initial_learning_rate * std::pow(decay_rate, staircase ? std::floor(periods) : periods);
}

double CosineDecay::operator()(Index step) const noexcept {
  const auto cosine = [this](Index from_start, double from) {
    const double fraction = quotient(std::min(from_start, decay_steps), decay_steps);
    const double decayed = 0.5 * (1 + std::cos(std::numbers::pi * fraction));
    return from * ((1 - alpha) * decayed + alpha);
  };
  if (!warmup_target) return cosine(step, initial_learning_rate);
  if (step < warmup_steps) {
    return initial_learning_rate +
           (*warmup_target - initial_learning_rate) * quotient(step, warmup_steps);
  }
  return cosine(step - warmup_steps, *warmup_target);
}

double CosineDecayRestarts::operator()(Index step) const noexcept {
  double fraction = quotient(step, first_decay_steps);
  double restarts = std::floor(fraction);
  if (t_mul == 1) {
    fraction -= restarts;
  } else {
    restarts = std::floor(std::log(1 - fraction * (1 - t_mul)) / std::log(t_mul));
    const double longer = std::pow(t_mul, restarts);
    fraction = (fraction - (1 - longer) / (1 - t_mul)) / longer;
  }
  const double decayed =
      0.5 * std::pow(m_mul, restarts) * (1 + std::cos(std::numbers::pi * fraction));
  return initial_learning_rate * ((1 - alpha) * decayed + alpha);
}

double InverseTimeDecay::operator()(Index step) const noexcept {
  const double periods = quotient(step, decay_steps);
  return initial_learning_rate / (1 + decay_rate * (staircase ? std::floor(periods) : periods));
}

double PiecewiseConstantDecay::operator()(Index step) const noexcept {
  const auto place = std::lower_bound(boundaries.begin(), boundaries.end(), step);
  return values[static_cast<std::size_t>(place - boundaries.begin())];
}

double PolynomialDecay::operator()(Index step) const noexcept {
  double fraction = quotient(std::min(step, decay_steps), decay_steps);
  if (cycle && step > 0) {
    const double periods = quotient(step, decay_steps);
    fraction = periods / std::ceil(periods);
  }
  return (initial_learning_rate - end_learning_rate) * std::pow(1 - fraction, power) +
         end_learning_rate;
}

struct LearningRate::Form {
  std::variant<double, CosineDecay, CosineDecayRestarts, ExponentialDecay, InverseTimeDecay,
               PiecewiseConstantDecay, PolynomialDecay, Function, Own>
      rate;
};

LearningRate::LearningRate(double rate) : form_(std::make_shared<Form>(Form{rate})) {
  if (rate >= 0 && std::isfinite(rate)) return;
  core::throw_config_error("optimizer", "learning_rate", "a finite number of 0 or more",
                           core::number_text(rate));
}
LearningRate::LearningRate(const CosineDecay& s)
    : form_(std::make_shared<Form>(Form{with_steps("decay_steps", s.decay_steps, s)})) {}
LearningRate::LearningRate(const CosineDecayRestarts& s)
    : form_(std::make_shared<Form>(Form{with_steps("first_decay_steps", s.first_decay_steps, s)})) {
  if (s.t_mul > 0 && std::isfinite(s.t_mul)) return;
  core::throw_config_error(s.name, "t_mul", "a finite number above 0", core::number_text(s.t_mul));
}
LearningRate::LearningRate(const ExponentialDecay& s)
    : form_(std::make_shared<Form>(Form{with_steps("decay_steps", s.decay_steps, s)})) {}
LearningRate::LearningRate(const InverseTimeDecay& s)
    : form_(std::make_shared<Form>(Form{with_steps("decay_steps", s.decay_steps, s)})) {}
LearningRate::LearningRate(const PolynomialDecay& s)
    : form_(std::make_shared<Form>(Form{with_steps("decay_steps", s.decay_steps, s)})) {}
LearningRate::LearningRate(const PiecewiseConstantDecay& s)
    : form_(std::make_shared<Form>(Form{s})) {
  if (!s.boundaries.empty() && s.values.size() == s.boundaries.size() + 1 &&
      std::is_sorted(s.boundaries.begin(), s.boundaries.end())) {
    return;
  }
  core::throw_config_error(
      s.name, "values", "one more than ascending boundaries",
      std::to_string(s.values.size()) + " for " + std::to_string(s.boundaries.size()));
}
LearningRate::LearningRate(Function function)
    : form_(std::make_shared<Form>(Form{std::move(function)})) {}
LearningRate::LearningRate(Own schedule)
    : form_(std::make_shared<Form>(Form{std::move(schedule)})) {
  if (std::get<Own>(form_->rate)) return;
  core::throw_config_error("optimizer", "learning_rate", "a schedule", "none");
}

bool LearningRate::is_number() const noexcept {
  return std::holds_alternative<double>(form_->rate);
}

void detail::register_schedule(const std::string& name, std::type_index type, ScheduleMaker make) {
  own_schedules().add(name, type, std::move(make));
}

LearningRate LearningRate::from_config(const ConfigValue& identifier) {
  if (identifier.is_number()) return identifier.as_number("learning_rate");
  const std::string own = nn::own_name_in(identifier);
  if (const auto make = own_schedules().find(own)) return make(identifier["config"]);
  if (nn::is_own_name(own)) {
    core::throw_config_error("optimizer", "learning_rate",
                             "a schedule that register_schedule() was given", own);
  }
  const std::string& class_name = identifier["class_name"].as_string("learning_rate");
  std::string known = "a number";
  for (const Entry& entry : kEntries) {
    if (entry.class_name == class_name) return entry.read(identifier["config"]);
    known.append(", ").append(entry.class_name);
  }
  core::throw_config_error("optimizer", "learning_rate", known, class_name);
}

double LearningRate::operator()(Index step) const {
  return std::visit(
      [step](const auto& schedule) -> double {
        if constexpr (std::is_same_v<std::remove_cvref_t<decltype(schedule)>, double>) {
          return schedule;
        } else if constexpr (std::is_same_v<std::remove_cvref_t<decltype(schedule)>, Own>) {
          return (*schedule)(step);
        } else {
          return schedule(step);
        }
      },
      form_->rate);
}

ConfigValue LearningRate::config() const { return std::visit(ConfigOf{}, form_->rate); }

}  // namespace grouphead
