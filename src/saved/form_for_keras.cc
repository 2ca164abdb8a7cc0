#include "saved/form_for_keras.h"

#include <algorithm>

#include "grouphead/layers/serialization.h"

namespace grouphead::saved {
namespace {

/// Options of layers and keywords of calls that only this library has.
constexpr std::string_view kOwnOptions[] = {"rope", "softcap", "alibi_slopes", "sinks",
                                            "masked_rows"};
constexpr std::string_view kOwnKeywords[] = {"causal_offset", "attention_bias"};
constexpr std::string_view kOwnActivation = "gelu_tanh";
constexpr std::string_view kGrouped = "GroupQueryAttention";

std::string text_of(const ConfigValue& value) {
  return value.is_string() ? value.as_string("config") : std::string();
}

ConfigValue without(const ConfigValue& config, std::string_view key) {
  ConfigValue::Object left = config.as_object("config");
  std::erase_if(left, [&](const auto& entry) { return entry.first == key; });
  return left;
}

class Writer {
 public:
  ConfigValue model(const ConfigValue& envelope, const std::string& place) {
    if (!envelope["config"].contains("layers")) return envelope;  // a package's own form
    const bool is_sequential = envelope["class_name"] == ConfigValue("Sequential");
    ConfigValue::List entries;
    for (const ConfigValue& entry : envelope["config"]["layers"].as_list("layers")) {
      entries.push_back(layer(entry, place, is_sequential));
    }
    ConfigValue config = envelope["config"];
    config.set("layers", std::move(entries));
    ConfigValue made = envelope;
    made.set("config", std::move(config));
    return made;
  }

  std::vector<std::string> problems;

 private:
  ConfigValue layer(const ConfigValue& entry, const std::string& place, bool is_in_sequential) {
    const std::string class_name = text_of(entry["class_name"]);
    const std::string module = text_of(entry["module"]);
    const std::string name = place + text_of(entry["config"]["name"]);
    const std::string where = "'" + name + "' (" + class_name + "): ";
    if (class_name == "Functional" || class_name == "Sequential") return model(entry, name + "/");
    if (class_name == "InputLayer" || module.starts_with("keras.src.ops.")) return entry;
    const std::vector<std::string_view> known = layer_class_names();
    const bool is_known = std::find(known.begin(), known.end(), class_name) != known.end();
    if (!is_known && module == "keras.layers") {
      problems.push_back(where +
                         "a class that keras.layers lacks; its module() has to say whose it is");
    }
    if (!is_known) return entry;
    find_own_options(entry["config"], class_name, where);
    const bool attends = class_name == kGrouped || class_name == "MultiHeadAttention";
    if (attends && is_in_sequential) {
      problems.push_back(where + "attention in a Sequential model, which passes one tensor");
    }
    if (!entry.contains("inbound_nodes")) return entry;
    return with_calls(entry, where);
  }

  void find_own_options(const ConfigValue& config, std::string_view class_name,
                        const std::string& where) {
    for (const std::string_view option : kOwnOptions) {
      if (config.contains(option)) problems.push_back(where + std::string(option));
    }
    if (class_name == kGrouped && config.contains("output_dim")) {
      problems.push_back(where + "output_dim");
    }
    if (config["activation"] == ConfigValue(kOwnActivation)) {
      problems.push_back(where + "activation " + std::string(kOwnActivation));
    }
  }

  ConfigValue with_calls(const ConfigValue& entry, const std::string& where) {
    const bool is_causal = entry["config"]["causal"] == ConfigValue(true);
    ConfigValue::List calls;
    for (const ConfigValue& call : entry["inbound_nodes"].as_list("inbound_nodes")) {
      ConfigValue kwargs = call["kwargs"];
      for (const std::string_view keyword : kOwnKeywords) {
        if (!kwargs[keyword].is_null()) problems.push_back(where + std::string(keyword));
      }
      if (is_causal) kwargs.set("use_causal_mask", true);
      ConfigValue made = call;
      made.set("kwargs", std::move(kwargs));
      calls.push_back(std::move(made));
    }
    ConfigValue made = entry;
    made.set("inbound_nodes", std::move(calls));
    if (is_causal) made.set("config", without(entry["config"], "causal"));
    return made;
  }
};

}  // namespace

KerasForm keras_form(const Model& model) {
  Writer writer;
  KerasForm form{.config = writer.model(model_to_config(model), "")};
  form.problems = std::move(writer.problems);
  return form;
}

}  // namespace grouphead::saved
