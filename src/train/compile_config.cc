#include "train/compile_config.h"

#include <algorithm>

#include "core/check.h"

// Source: keras.Model.get_compile_config: what compile() was given. One entry for each output comes
// alone, as a list, or as an object by the outputs' names.

namespace grouphead {
namespace {

/// Functions of Keras are told by their names.
ConfigValue plain(const ConfigValue& value) {
  const bool is_function = value.is_object() && value["class_name"] == ConfigValue("function");
  return is_function ? value["config"] : value;
}

/// One value for each output, null where there is none; none at all for null.
ConfigValue::List per_output(const ConfigValue& value, const std::vector<std::string>& names) {
  const ConfigValue held = plain(value);
  if (held.is_null()) return {};
  if (held.is_list()) return held.as_list("compile_config");
  if (!held.is_object() || held.contains("class_name")) return {held};
  ConfigValue::List list(names.size());
  for (const auto& [name, entry] : held.as_object("compile_config")) {
    const auto found = std::find(names.begin(), names.end(), name);
    if (found == names.end()) {
      detail::throw_config_error("compile", "compile_config", "names of outputs", name);
    }
    list[static_cast<std::size_t>(found - names.begin())] = entry;
  }
  return list;
}

std::vector<MetricChoice> choices_of(const ConfigValue& value) {
  const ConfigValue held = plain(value);
  if (held.is_null()) return {};
  if (!held.is_list()) return {MetricChoice(held)};
  std::vector<MetricChoice> choices;
  for (const ConfigValue& entry : held.as_list("metrics")) choices.emplace_back(plain(entry));
  return choices;
}

// For one output the list may be the metrics themselves.
std::vector<std::vector<MetricChoice>> metrics_of(const ConfigValue& value,
                                                  const std::vector<std::string>& names) {
  const ConfigValue held = plain(value);
  if (held.is_null()) return {};
  const bool is_flat =
      held.is_list() && names.size() == 1 &&
      std::none_of(held.as_list("metrics").begin(), held.as_list("metrics").end(),
                   [](const ConfigValue& entry) { return plain(entry).is_list(); });
  if (is_flat) return {choices_of(held)};
  std::vector<std::vector<MetricChoice>> lists;
  for (const ConfigValue& entry : per_output(held, names)) lists.push_back(choices_of(entry));
  return lists;
}

/// One alone without a list around it.
ConfigValue one_or_list(ConfigValue::List list) {
  if (list.empty()) return {};
  return list.size() == 1 ? std::move(list.front()) : ConfigValue(std::move(list));
}

ConfigValue config_of_metrics(const std::vector<std::vector<MetricChoice>>& lists) {
  ConfigValue::List held;
  for (const std::vector<MetricChoice>& list : lists) {
    ConfigValue::List metrics;
    for (const MetricChoice& metric : list) metrics.push_back(metric.config());
    held.emplace_back(std::move(metrics));
  }
  return one_or_list(std::move(held));
}

}  // namespace

CompileConfig compile_config_from(const ConfigValue& config,
                                  const std::vector<std::string>& output_names) {
  CompileConfig made;
  if (!config["optimizer"].is_null()) made.optimizer = OptimizerChoice(config["optimizer"]);
  for (const ConfigValue& entry : per_output(config["loss"], output_names)) {
    made.loss.emplace_back(plain(entry));
  }
  for (const ConfigValue& entry : per_output(config["loss_weights"], output_names)) {
    made.loss_weights.push_back(entry.is_null() ? 1 : entry.as_number("loss_weights"));
  }
  made.metrics = metrics_of(config["metrics"], output_names);
  made.weighted_metrics = metrics_of(config["weighted_metrics"], output_names);
  return made;
}

namespace train {

ConfigValue config_of(const CompileConfig& config, std::size_t num_outputs) {
  ConfigValue::List losses;
  for (const Loss& loss : config.loss) losses.push_back(loss.config());
  if (losses.size() == 1 && num_outputs > 1) losses.resize(num_outputs, losses.front());
  ConfigValue::List weights(config.loss_weights.begin(), config.loss_weights.end());
  const auto& optimizer = config.optimizer.get();
  return ConfigValue::Object{
      {"optimizer", optimizer ? optimizer->config() : ConfigValue()},
      {"loss", one_or_list(std::move(losses))},
      {"loss_weights", weights.empty() ? ConfigValue() : ConfigValue(std::move(weights))},
      {"metrics", config_of_metrics(config.metrics)},
      {"weighted_metrics", config_of_metrics(config.weighted_metrics)},
      {"run_eagerly", false},
      {"steps_per_execution", 1},
      {"jit_compile", "auto"}};
}

}  // namespace train

}  // namespace grouphead
