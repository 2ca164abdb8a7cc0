#include "saved/run_config.h"

#include <algorithm>
#include <charconv>
#include <limits>

#include "io/json.h"

namespace grouphead::saved {
namespace {

constexpr const char* kBatchBlocks = "batch_blocks";  // older files have none: 1

// The one list of a configuration's fields. `Config` is TrainerConfig or const TrainerConfig.
template <class Config, class Visit>
void visit_fields(Config& config, Visit&& visit) {
  visit("hidden", config.hidden_size);
  visit("layers", config.num_layers);
  visit("heads", config.num_heads);
  visit("kv_heads", config.num_key_value_heads);
  visit("rope", config.rope);
  visit("yarn", config.yarn_scale);
  visit("dropout", config.dropout);
  visit("seq", config.sequence_length);
  visit("batch", config.batch_size);
  visit("steps", config.steps);
  visit("lr", config.learning_rate);
  visit("warmup", config.warmup_steps);
  visit("weight_decay", config.weight_decay);
  visit("clipnorm", config.clipnorm);
  visit("seed", config.seed);
  visit("dtype", config.dtype);
  visit(kBatchBlocks, config.batch_blocks);
}

ConfigValue value_of(Dtype dtype) { return name_of(dtype); }
ConfigValue value_of(const std::optional<double>& value) {
  return value ? ConfigValue(*value) : ConfigValue();
}
/// As text beyond 2^63, which ConfigValue's integers do not reach.
ConfigValue value_of(std::uint64_t value) {
  constexpr auto kLargest = static_cast<std::uint64_t>(std::numeric_limits<Index>::max());
  return value <= kLargest ? ConfigValue(static_cast<Index>(value))
                           : ConfigValue(std::to_string(value));
}
template <class T>
ConfigValue value_of(T value) {
  return value;
}

// Each takes a value of its own type alone and says whether it did.
bool read(const ConfigValue& held, Index& value) {
  constexpr Index kLimit = Index{1} << 40;
  if (!held.is_integer()) return false;
  value = held.as_integer("field");
  return value >= 0 && value < kLimit;
}
bool read(const ConfigValue& held, std::uint64_t& value) {
  if (held.is_string()) {
    const std::string& text = held.as_string("field");
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    return error == std::errc() && end == text.data() + text.size();
  }
  if (!held.is_integer() || held.as_integer("field") < 0) return false;
  value = static_cast<std::uint64_t>(held.as_integer("field"));
  return true;
}
bool read(const ConfigValue& held, double& value) {
  if (!held.is_number()) return false;
  value = held.as_number("field");
  return true;
}
bool read(const ConfigValue& held, std::optional<double>& value) {
  value.reset();
  return held.is_null() || read(held, value.emplace());
}
bool read(const ConfigValue& held, bool& value) {
  if (!held.is_bool()) return false;
  value = held.as_bool("field");
  return true;
}
bool read(const ConfigValue& held, Dtype& value) {
  for (const Dtype dtype : {Dtype::f32, Dtype::f64}) {
    if (held != ConfigValue(name_of(dtype))) continue;
    value = dtype;
    return true;
  }
  return false;
}

ConfigValue object_of(const TrainerConfig& config) {
  ConfigValue object = ConfigValue::Object{};
  visit_fields(config,
               [&](const char* name, const auto& value) { object.set(name, value_of(value)); });
  return object;
}

}  // namespace

std::vector<Setting> settings_of(const TrainerConfig& config) {
  std::vector<Setting> settings;
  visit_fields(config, [&](const char* name, const auto& field) {
    const ConfigValue value = value_of(field);
    settings.push_back({name, value.is_null()     ? "none"
                              : value.is_string() ? value.as_string(name)
                                                  : value.to_string()});
  });
  return settings;
}

std::string to_json(const TrainerConfig& config) {
  return io::json_text(object_of(config), 2) + "\n";
}

TrainerConfig config_from_json(std::string_view text, const std::string& where) {
  ConfigValue object;
  try {
    object = io::parse_json(text, "text");
  } catch (const IoError& error) {
    throw IoError(where + ": expected a JSON object; " + error.what());
  }
  if (!object.is_object()) throw IoError(where + ": expected a JSON object");
  TrainerConfig config;
  visit_fields(config, [&](const char* name, auto& value) {
    if (!object.contains(name) && std::string_view(name) == kBatchBlocks) return;
    if (!object.contains(name)) throw IoError(where + ": " + name + ": missing");
    if (!read(object[name], value)) {
      throw IoError(where + ": " + name + ": cannot be " + object[name].to_string());
    }
  });
  return config;
}

}  // namespace grouphead::saved
