#include "saved/keras_config.h"

#include "nn/own_classes.h"

namespace grouphead::saved {
namespace {

/// Whether weights of this mode are read: `int8`, `int4`, `int4/128`, `float8`.
bool is_read(std::string_view mode) {
  return mode == "int8" || mode == "int4" || mode == "float8" || mode.starts_with("int4/");
}

// `int8_from_float32` is a policy's name too.
ConfigValue plain_policy(const ConfigValue& dtype) {
  constexpr std::string_view kMark = "_from_";
  if (dtype.is_string()) {
    const std::string_view name = dtype.as_string("dtype");
    const std::size_t mark = name.find(kMark);
    const bool has_source = mark != std::string_view::npos && is_read(name.substr(0, mark));
    return has_source ? ConfigValue(name.substr(mark + kMark.size())) : dtype;
  }
  const ConfigValue& mode = dtype["config"]["mode"];
  if (!mode.is_string()) return dtype;
  // Other modes stay what they are, which no layer takes.
  return is_read(mode.as_string("mode")) ? dtype["config"]["source_name"] : mode;
}

/// Says how weights were made, not what a layer computes: they come as the numbers that they stand
/// for.
constexpr std::string_view kQuantization = "quantization_config";

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
    } else if (key == "dtype" && (value.is_string() || value.is_object())) {
      made.emplace_back(key, plain_policy(value));
    } else if (key == kQuantization) {
      made.emplace_back(key, nullptr);
    } else {
      made.emplace_back(key, plain_config(value));
    }
  }
  return made;
}

}  // namespace grouphead::saved
