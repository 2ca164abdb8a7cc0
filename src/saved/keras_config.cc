#include "saved/keras_config.h"

#include "nn/own_classes.h"
#include "nn/quantization_config.h"

namespace grouphead::saved {
namespace {

/// A policy as classes of users know it: that of the layer before it was quantized.
ConfigValue plain_policy(const ConfigValue& dtype) {
  const std::optional<nn::QuantizedPolicy> policy = nn::quantized_policy(dtype);
  if (!policy) return dtype;
  // Other modes stay what they are, which no layer takes.
  return nn::is_read_mode(policy->mode) ? policy->source : policy->mode;
}

bool is_of_lora(std::string_view key) { return key == "lora_rank" || key == "lora_alpha"; }

/// Whether the library's layer of this configuration trains LoRA; the kernels of others come with
/// its change merged.
bool has_lora(const ConfigValue& config) {
  return config.contains("units") || config.contains("equation") ||
         (config.contains("input_dim") && !config.contains("tie_weights"));
}

/// The options of a class that is none of Keras's: their names are its own.
ConfigValue plain_options(const ConfigValue& options) {
  if (!options.is_object()) return plain_config(options);
  ConfigValue::Object made;
  for (const auto& [key, value] : options.as_object("config")) {
    const bool is_policy = key == "dtype" && (value.is_string() || value.is_object());
    made.emplace_back(key, is_policy ? plain_policy(value) : plain_config(value));
  }
  return made;
}

}  // namespace

ConfigValue plain_config(const ConfigValue& config) {
  if (config.is_list()) {
    ConfigValue::List list;
    for (const ConfigValue& entry : config.as_list("config")) list.push_back(plain_config(entry));
    return list;
  }
  if (!config.is_object()) return config;
  const std::string registered = nn::own_name_in(config);
  const bool is_own = nn::is_own_name(registered) && !registered.starts_with("keras_");
  const bool keeps_lora = has_lora(config);
  ConfigValue::Object made;
  for (const auto& [key, value] : config.as_object("config")) {
    if (is_of_lora(key) && !keeps_lora) continue;
    if (key == "config" && is_own) {
      made.emplace_back(key, plain_options(value));
    } else if (key == "class_name" && value == ConfigValue("GroupedQueryAttention")) {
      made.emplace_back(key, "GroupQueryAttention");
    } else {
      made.emplace_back(key, plain_config(value));
    }
  }
  return made;
}

}  // namespace grouphead::saved
