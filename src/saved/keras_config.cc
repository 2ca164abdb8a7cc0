#include "saved/keras_config.h"

namespace grouphead::saved {
namespace {

// `int8_from_float32` is a policy's name too.
ConfigValue plain_policy(const ConfigValue& dtype) {
  constexpr std::string_view kMark = "int8_from_";
  const bool is_text = dtype.is_string();
  if (is_text && dtype.as_string("dtype").starts_with(kMark)) {
    return dtype.as_string("dtype").substr(kMark.size());
  }
  if (is_text || dtype["class_name"] != ConfigValue("QuantizedDTypePolicy")) return dtype;
  const ConfigValue& config = dtype["config"];
  // Other modes stay what they are, which no layer takes.
  return config["mode"] == ConfigValue("int8") ? config["source_name"] : config["mode"];
}

}  // namespace

ConfigValue plain_config(const ConfigValue& config) {
  if (config.is_list()) {
    ConfigValue::List list;
    for (const ConfigValue& entry : config.as_list("config")) list.push_back(plain_config(entry));
    return list;
  }
  if (!config.is_object()) return config;
  ConfigValue::Object made;
  for (const auto& [key, value] : config.as_object("config")) {
    if (key == "class_name" && value == ConfigValue("GroupedQueryAttention")) {
      made.emplace_back(key, "GroupQueryAttention");
    } else if (key == "dtype" && (value.is_string() || value.is_object())) {
      made.emplace_back(key, plain_policy(value));
    } else if (key == "quantization_config") {
      made.emplace_back(key, nullptr);
    } else {
      made.emplace_back(key, plain_config(value));
    }
  }
  return made;
}

}  // namespace grouphead::saved
