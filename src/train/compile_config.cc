#include "train/compile_config.h"

#include <algorithm>
#include <numeric>
#include <set>

#include "core/check.h"
#include "core/comma_list.h"
#include "grouphead/models/model.h"

// Source: keras.Model.get_compile_config: what compile() was given. One entry for each output comes
// alone, as a list, or as an object by the outputs' names.

namespace grouphead {
namespace {

/// Functions of Keras are told by their names.
ConfigValue plain(const ConfigValue& value) {
  const bool is_function = value.is_object() && value["class_name"] == ConfigValue("function");
  return is_function ? value["config"] : value;
}

bool is_by_name(const ConfigValue& value) {
  return value.is_object() && !value.contains("class_name");
}

/// One value for each output, null where there is none; none at all for null.
ConfigValue::List per_output(std::string_view what, const ConfigValue& value,
                             const std::vector<std::string>& names) {
  const ConfigValue held = plain(value);
  if (held.is_null()) return {};
  if (held.is_list()) return held.as_list(what);
  if (!is_by_name(held)) return {held};
  for (const auto& [name, entry] : held.as_object(what)) {
    if (std::find(names.begin(), names.end(), name) == names.end()) {
      core::throw_config_error("compile", what, core::comma_list(names), name);
    }
  }
  ConfigValue::List list;  // two outputs of one layer have one name
  for (const std::string& name : names) list.push_back(held[name]);
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

/// All metrics in lists and objects of any depth.
void collect_metrics(const ConfigValue& value, std::vector<MetricChoice>& choices) {
  const ConfigValue held = plain(value);
  if (held.is_list()) {
    for (const ConfigValue& entry : held.as_list("metrics")) collect_metrics(entry, choices);
  } else if (is_by_name(held)) {
    for (const auto& [name, entry] : held.as_object("metrics")) collect_metrics(entry, choices);
  } else if (!held.is_null()) {
    choices.emplace_back(held);
  }
}

/// The order that a list of metrics has. Source: CompileMetrics.build, which takes the names of the
/// layers for keys where they are the same ones.
std::vector<std::size_t> order_of_metrics(const Model& model) {
  const std::vector<std::string>& keys = model.output_keys();
  std::vector<std::size_t> order;
  for (const Symbol& output : model.outputs()) {
    const auto found = std::find(keys.begin(), keys.end(), output.name());
    order.push_back(static_cast<std::size_t>(found - keys.begin()));
  }
  const std::set<std::size_t> distinct(order.begin(), order.end());
  if (distinct.size() == order.size() && !distinct.contains(keys.size())) return order;
  std::iota(order.begin(), order.end(), std::size_t{0});
  return order;
}

// With one output all metrics are its own, whatever the names.
std::vector<std::vector<MetricChoice>> metrics_of(std::string_view what, const ConfigValue& value,
                                                  const Model& model) {
  const ConfigValue held = plain(value);
  if (held.is_null()) return {};
  const std::vector<std::string> names = model.output_names();
  if (names.size() == 1) {
    std::vector<std::vector<MetricChoice>> all(1);
    collect_metrics(held, all[0]);
    return all;
  }
  std::vector<std::vector<MetricChoice>> lists;
  for (const ConfigValue& entry : per_output(what, held, names)) {
    lists.push_back(choices_of(entry));
  }
  if (!held.is_list() || lists.size() != names.size()) return lists;
  std::vector<std::vector<MetricChoice>> ordered(lists.size());
  const std::vector<std::size_t> order = order_of_metrics(model);
  for (std::size_t i = 0; i < order.size(); ++i) ordered[order[i]] = std::move(lists[i]);
  return ordered;
}

/// A list of weights beside losses by name has one for each of these, by their sorted names.
ConfigValue weights_by_name(const ConfigValue& weights, const ConfigValue& losses) {
  const ConfigValue named = plain(losses);
  if (!weights.is_list() || !is_by_name(named)) return weights;
  const ConfigValue::List& list = weights.as_list("loss_weights");
  const ConfigValue::Object& entries = named.as_object("loss");
  if (list.size() != entries.size()) return weights;
  std::set<std::string> names;
  for (const auto& [name, loss] : entries) names.insert(name);
  ConfigValue::Object made;
  for (const std::string& name : names) made.emplace_back(name, list[made.size()]);
  return made;
}

/// One alone without a list around it.
ConfigValue one_or_list(ConfigValue::List list) {
  if (list.empty()) return {};
  return list.size() == 1 ? std::move(list.front()) : ConfigValue(std::move(list));
}

/// For all outputs: one alone, a list, or an object by the keys of those that have something.
ConfigValue for_outputs(ConfigValue::List list, const std::vector<std::string>& keys) {
  if (keys.size() < 2 || list.size() != keys.size()) return one_or_list(std::move(list));
  ConfigValue::Object by_key;
  for (std::size_t i = 0; i < keys.size(); ++i) {
    if (!list[i].is_null()) by_key.emplace_back(keys[i], std::move(list[i]));
  }
  return by_key;
}

ConfigValue config_of_metrics(const std::vector<std::vector<MetricChoice>>& lists,
                              const std::vector<std::string>& keys) {
  ConfigValue::List held;
  for (const std::vector<MetricChoice>& list : lists) {
    ConfigValue::List metrics;
    for (const MetricChoice& metric : list) metrics.push_back(metric.config());
    held.emplace_back(std::move(metrics));
  }
  return for_outputs(std::move(held), keys);
}

}  // namespace

CompileConfig compile_config_from(const ConfigValue& config, const Model& model) {
  CompileConfig made;
  const std::vector<std::string> names = model.output_names();
  std::string problems;
  const auto attempt = [&](const auto& make) {
    try {
      make();
    } catch (const ConfigError& error) {
      problems.append(problems.empty() ? "" : "; ").append(error.what());
    }
  };
  attempt([&] {
    if (!config["optimizer"].is_null()) made.optimizer = OptimizerChoice(config["optimizer"]);
  });
  for (const ConfigValue& entry : per_output("loss", config["loss"], names)) {
    attempt([&] { made.loss.emplace_back(plain(entry)); });
  }
  const ConfigValue& given = config["loss_weights"];
  const bool has_keys = !model.output_keys().empty();
  const ConfigValue weights = has_keys ? weights_by_name(given, config["loss"]) : given;
  for (const ConfigValue& entry : per_output("loss_weights", weights, names)) {
    made.loss_weights.push_back(entry.is_null() ? 1 : entry.as_number("loss_weights"));
  }
  made.metrics = metrics_of("metrics", config["metrics"], model);
  made.weighted_metrics = metrics_of("weighted_metrics", config["weighted_metrics"], model);
  for (const auto* lists : {&made.metrics, &made.weighted_metrics}) {
    for (const std::vector<MetricChoice>& list : *lists) {
      for (const MetricChoice& metric : list) attempt([&] { metric.require_known(); });
    }
  }
  if (!problems.empty()) throw ConfigError(problems);
  return made;
}

namespace train {

ConfigValue config_of(const CompileConfig& config, std::size_t num_outputs,
                      const std::vector<std::string>& output_keys) {
  ConfigValue::List losses;
  for (const Loss& loss : config.loss) losses.push_back(loss.config());
  if (losses.size() == 1 && num_outputs > 1) losses.resize(num_outputs, losses.front());
  ConfigValue::List weights(config.loss_weights.begin(), config.loss_weights.end());
  if (weights.size() == 1 && num_outputs > 1) weights.resize(num_outputs, weights.front());
  if (!output_keys.empty()) {
    // Keras wants a weight for each loss, and for no other output.
    for (std::size_t i = 0; i < std::min(losses.size(), weights.size()); ++i) {
      if (losses[i].is_null()) weights[i] = {};
    }
  }
  ConfigValue::Object made;
  // Keras fails on an optimizer that is null.
  if (const auto& optimizer = config.optimizer.get()) {
    made.emplace_back("optimizer", optimizer->config());
  }
  made.emplace_back("loss", for_outputs(std::move(losses), output_keys));
  made.emplace_back("loss_weights", weights.empty() ? ConfigValue()
                                    : output_keys.size() < 2
                                        ? ConfigValue(std::move(weights))
                                        : for_outputs(std::move(weights), output_keys));
  made.emplace_back("metrics", config_of_metrics(config.metrics, output_keys));
  made.emplace_back("weighted_metrics", config_of_metrics(config.weighted_metrics, output_keys));
  made.emplace_back("run_eagerly", false);
  made.emplace_back("steps_per_execution", 1);
  made.emplace_back("jit_compile", "auto");
  return made;
}

}  // namespace train

}  // namespace grouphead
