#include "nn/config_reader.h"

#include "core/check.h"
#include "core/comma_list.h"
#include "core/seed.h"
#include "nn/quantization_config.h"

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
  // What is quantized of a layer is read by read_quantization(); others only have the source.
  const std::optional<QuantizedPolicy> quantized = quantized_policy(held);
  if (quantized) return is_read_mode(quantized->mode) ? quantized->source : quantized->mode;
  if (held.is_string()) return held.as_string("dtype");
  const ConfigValue& name = held["config"]["name"];
  const bool is_plain = !held.contains("class_name") ||
                        held["class_name"] == ConfigValue("DTypePolicy") ||
                        held["class_name"] == ConfigValue("FloatDTypePolicy");
  if (is_plain && name.is_string()) return name.as_string("dtype");
  std::string got = "a policy without a name";
  if (held["class_name"].is_string()) got = held["class_name"].as_string("dtype");
  if (name.is_string()) got += " " + name.as_string("dtype");
  core::throw_config_error(class_name_, "dtype",
                           "one floating-point policy such as float32 or mixed_bfloat16, or int8",
                           got);
}

Activation ConfigReader::activation() { return Activation::from_config(value("activation")); }

std::optional<std::uint64_t> ConfigReader::seed() {
  const ConfigValue& held = value("seed");
  if (held.is_null()) return {};
  return core::checked_seed(held.as_integer("seed"));
}

void ConfigReader::finish() const {
  if (config_.is_null()) return;
  for (const auto& [key, held] : config_.as_object(class_name_)) {
    if (!asked_.contains(key)) {
      core::throw_config_error(class_name_, "config", "keys among " + core::comma_list(asked_),
                               key);
    }
  }
}

}  // namespace grouphead::nn
