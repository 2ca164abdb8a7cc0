#include "nn/config_reader.h"

#include "core/check.h"
#include "grouphead/core/random.h"

namespace grouphead::nn {

ConfigReader::ConfigReader(std::string_view class_name, const ConfigValue& config)
    : class_name_(class_name), config_(config) {
  if (!config.is_null()) config.as_object(class_name);
}

const ConfigValue& ConfigReader::value(std::string_view key) {
  asked_.emplace(key);
  return config_[key];
}

bool ConfigReader::boolean(std::string_view key, bool fallback) {
  const ConfigValue& held = value(key);
  return held.is_null() ? fallback : held.as_bool(key);
}
Index ConfigReader::integer(std::string_view key, Index fallback) {
  const ConfigValue& held = value(key);
  return held.is_null() ? fallback : held.as_integer(key);
}
double ConfigReader::number(std::string_view key, double fallback) {
  const ConfigValue& held = value(key);
  return held.is_null() ? fallback : held.as_number(key);
}
std::string ConfigReader::string(std::string_view key, std::string_view fallback) {
  const ConfigValue& held = value(key);
  return held.is_null() ? std::string(fallback) : held.as_string(key);
}

DtypePolicy ConfigReader::dtype() {
  const ConfigValue& held = value("dtype");
  if (held.is_null()) return {};
  if (held.is_string()) return held.as_string("dtype");
  return held["config"]["name"].as_string("dtype");
}

std::optional<std::uint32_t> ConfigReader::seed() {
  const ConfigValue& held = value("seed");
  if (held.is_null()) return {};
  return checked_seed(held.as_integer("seed"));
}

void ConfigReader::finish() const {
  if (config_.is_null()) return;
  for (const auto& [key, held] : config_.as_object(class_name_)) {
    if (!asked_.contains(key)) {
      detail::throw_config_error(class_name_, "config", "no key that Keras does not know", key);
    }
  }
}

}  // namespace grouphead::nn
