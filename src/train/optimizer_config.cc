// Optimizers from configurations.

#include "core/check.h"
#include "core/comma_list.h"
#include "core/number_text.h"
#include "grouphead/train/optimizers.h"
#include "nn/config_reader.h"
#include "train/optimizer_fields.h"

namespace grouphead {
namespace {

std::optional<double> number_or_null(nn::ConfigReader& reader, std::string_view key) {
  const ConfigValue& held = reader.value(key);
  return held.is_null() ? std::optional<double>() : held.as_number(key);
}

std::optional<Index> integer_or_null(nn::ConfigReader& reader, std::string_view key) {
  const ConfigValue& held = reader.value(key);
  return held.is_null() ? std::optional<Index>() : held.as_integer(key);
}

OptimizerOptions options_from(nn::ConfigReader& reader) {
  return {.clipnorm = number_or_null(reader, "clipnorm"),
          .clipvalue = number_or_null(reader, "clipvalue"),
          .global_clipnorm = number_or_null(reader, "global_clipnorm"),
          .use_ema = reader.boolean("use_ema", false),
          .ema_momentum = reader.number("ema_momentum", 0.99),
          .ema_overwrite_frequency = integer_or_null(reader, "ema_overwrite_frequency"),
          .loss_scale_factor = number_or_null(reader, "loss_scale_factor"),
          .gradient_accumulation_steps = integer_or_null(reader, "gradient_accumulation_steps"),
          .name = reader.name("")};
}

/// Reads the fields that are an algorithm's own; what a file lacks keeps Keras's default.
struct ReadField {
  nn::ConfigReader& reader;

  template <class... Rest>
  void operator()(std::string_view key, double& field, Rest... /*range*/) const {
    field = reader.number(key, field);
  }
  void operator()(std::string_view key, bool& field) const { field = reader.boolean(key, field); }
  template <class... Rest>
  void operator()(std::string_view key, Index& field, Rest... /*range*/) const {
    field = reader.integer(key, field);
  }
  template <class... Rest>
  void operator()(std::string_view key, std::optional<double>& field, Rest... /*range*/) const {
    if (reader.has(key)) field = number_or_null(reader, key);
  }
  void operator()(std::string_view key, std::vector<std::string>& field) const {
    const ConfigValue& held = reader.value(key);
    if (held.is_null()) return;
    for (const ConfigValue& entry : held.as_list(key)) field.push_back(entry.as_string(key));
  }
};

template <class Config>
std::shared_ptr<Optimizer> make(const ConfigValue& held) {
  nn::ConfigReader reader(train::kOptimizerClass<Config>, held);
  Config config;
  config.options = options_from(reader);
  if (reader.has("learning_rate")) {
    config.learning_rate = LearningRate::from_config(reader.value("learning_rate"));
  }
  if (reader.has("weight_decay")) config.weight_decay = number_or_null(reader, "weight_decay");
  train::visit_fields(config, ReadField{reader});
  reader.finish();
  return std::make_shared<detail::AlgorithmOf<Config>>(config);
}

/// The optimizer inside, which scales its loss from here on.
std::shared_ptr<Optimizer> make_loss_scaling(const ConfigValue& held) {
  nn::ConfigReader reader("LossScaleOptimizer", held);
  LossScaling scaling;
  scaling.initial_scale = reader.number("initial_scale", scaling.initial_scale);
  scaling.dynamic_growth_steps =
      reader.integer("dynamic_growth_steps", scaling.dynamic_growth_steps);
  scaling.name = reader.name(scaling.name);
  const ConfigValue& inner = reader.value("inner_optimizer");
  // What older files have besides is Keras's defaults, without a meaning.
  options_from(reader);
  reader.value("learning_rate");
  reader.value("weight_decay");
  reader.finish();
  if (inner["class_name"] == ConfigValue("LossScaleOptimizer")) {
    core::throw_config_error("LossScaleOptimizer", "inner_optimizer", "an optimizer", "another");
  }
  std::shared_ptr<Optimizer> optimizer = Optimizer::from_config(inner);
  optimizer->scale_loss(scaling);
  return optimizer;
}

struct Entry {
  std::string_view class_name;
  std::shared_ptr<Optimizer> (*make)(const ConfigValue& config);
};
template <class Config>
constexpr Entry entry() {
  return {train::kOptimizerClass<Config>, make<Config>};
}
constexpr Entry kEntries[] = {
    entry<AdadeltaConfig>(),
    entry<AdafactorConfig>(),
    entry<AdagradConfig>(),
    entry<AdamConfig>(),
    entry<AdamWConfig>(),
    entry<AdamaxConfig>(),
    entry<FtrlConfig>(),
    entry<LambConfig>(),
    entry<LionConfig>(),
    {"LossScaleOptimizer", make_loss_scaling},
    entry<MuonConfig>(),
    entry<NadamConfig>(),
    entry<RMSpropConfig>(),
    entry<SGDConfig>(),
    entry<ScheduleFreeAdamWConfig>(),
};

}  // namespace

std::shared_ptr<Optimizer> Optimizer::from_config(const ConfigValue& identifier) {
  const ConfigValue& held = identifier.is_string() ? identifier : identifier["class_name"];
  const std::string name = core::lower_case(held.as_string("optimizer"));
  std::vector<std::string_view> names;
  for (const Entry& entry : kEntries) {
    names.push_back(entry.class_name);
    if (core::lower_case(entry.class_name) != name) continue;
    return entry.make(identifier.is_string() ? ConfigValue() : identifier["config"]);
  }
  core::throw_config_error("optimizer", "name", core::comma_list(names), held.to_string());
}

}  // namespace grouphead
