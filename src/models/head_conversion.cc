// Models with fewer key/value heads.

#include "core/check.h"
#include "grouphead/layers/serialization.h"
#include "models/head_pooling.h"

namespace grouphead {
namespace {

using core::throw_config_error;

constexpr std::string_view kOperation = "convert_heads";

/// Rewrites a model's configuration beside the model.
class ConfigConverter {
 public:
  explicit ConfigConverter(Index num_key_value_heads) : num_heads_(num_key_value_heads) {}

  Index num_converted = 0;
  std::string problems;

  /// `envelope` of `model`, which stands at `place`.
  ConfigValue converted(const Model& model, const ConfigValue& envelope, const std::string& place) {
    if (!model.has_graph()) throw_config_error(kOperation, place, "a built model", "none");
    ConfigValue::List entries;
    for (const ConfigValue& entry : envelope["config"]["layers"].as_list("layers")) {
      entries.push_back(converted_entry(model, entry, place));
    }
    ConfigValue config = envelope["config"];
    config.set("layers", std::move(entries));
    ConfigValue result = envelope;
    result.set("config", std::move(config));
    return result;
  }

 private:
  ConfigValue converted_entry(const Model& model, const ConfigValue& entry,
                              const std::string& place) {
    const ConfigValue& name = entry["config"]["name"];
    for (const auto& layer : model.layers()) {
      if (name != ConfigValue(layer->name())) continue;
      const std::string inner_place = place + "/" + layer->name();
      if (const auto* inner = dynamic_cast<const Model*>(layer.get())) {
        return converted(*inner, entry, inner_place);
      }
      if (has_heads(*layer)) return converted_attention(*layer, entry, inner_place);
    }
    return entry;
  }

  ConfigValue converted_attention(const Layer& layer, const ConfigValue& entry,
                                  const std::string& place) {
    const std::string problem = conversion_problem(layer, num_heads_);
    if (!problem.empty()) {
      problems += (problems.empty() ? "" : ", ") + place + ": " + problem;
      return entry;
    }
    const auto* grouped = dynamic_cast<const GroupQueryAttention*>(&layer);
    if (grouped != nullptr && grouped->config().num_key_value_heads == num_heads_) return entry;
    ++num_converted;
    GroupQueryAttention after(converted_config(layer, num_heads_));
    after.set_trainable(layer.trainable());
    ConfigValue result = entry;
    const ConfigValue made = layer_to_config(after);
    for (const auto& [key, value] : made.as_object("layer")) {
      result.set(key, value);
    }
    if (grouped == nullptr && entry.contains("inbound_nodes")) {
      result.set("inbound_nodes", without_query_masks(entry["inbound_nodes"]));
    }
    return result;
  }

  // MultiHeadAttention takes no notice of them, GroupQueryAttention would.
  static ConfigValue without_query_masks(const ConfigValue& nodes) {
    ConfigValue::List calls;
    for (const ConfigValue& node : nodes.as_list("inbound_nodes")) {
      ConfigValue::Object kwargs = node["kwargs"].as_object("kwargs");
      std::erase_if(kwargs, [](const auto& entry) { return entry.first == "query_mask"; });
      ConfigValue call = node;
      call.set("kwargs", std::move(kwargs));
      calls.push_back(std::move(call));
    }
    return calls;
  }

  Index num_heads_;
};

}  // namespace

std::shared_ptr<Model> convert_heads(const Model& model, const HeadConversion& conversion) {
  ConfigConverter converter(conversion.num_key_value_heads);
  const ConfigValue envelope = converter.converted(model, model_to_config(model), model.name());
  const std::string wanted = std::to_string(conversion.num_key_value_heads) + " key/value heads";
  if (!converter.problems.empty()) {
    throw_config_error(kOperation, "layers", "layers that can have " + wanted, converter.problems);
  }
  if (converter.num_converted == 0) {
    throw_config_error(kOperation, model.name(),
                       "MultiHeadAttention, or GroupQueryAttention of more than " + wanted, "none");
  }
  std::shared_ptr<Model> converted = model_from_config(envelope, conversion.seed);
  pool_parameters(model.parameters(), conversion.pooling, converted->parameters());
  return converted;
}

namespace {

// Of a model whose layers all have `heads` key/value heads.
void require_fewer(Index heads, Index wanted) {
  if (wanted >= 1 && wanted < heads && heads % wanted == 0) return;
  throw_config_error(kOperation, "num_key_value_heads",
                     "a divisor of the model's " + std::to_string(heads) + ", less than it",
                     std::to_string(wanted));
}

}  // namespace

std::unique_ptr<TransformerModel> convert_heads(const TransformerModel& model,
                                                const HeadConversion& conversion) {
  TransformerModelConfig config = model.config();
  require_fewer(config.attention.num_key_value_heads, conversion.num_key_value_heads);
  config.attention.num_key_value_heads = conversion.num_key_value_heads;
  config.seed = conversion.seed;
  auto converted = std::make_unique<TransformerModel>(config);
  pool_parameters(model.parameters(), conversion.pooling, converted->parameters(),
                  config.attention.head_dim);
  return converted;
}

std::unique_ptr<LanguageModel> convert_heads(const LanguageModel& model,
                                             const HeadConversion& conversion) {
  LanguageModelConfig config = model.config();
  require_fewer(config.transformer.num_key_value_heads, conversion.num_key_value_heads);
  config.transformer.num_key_value_heads = conversion.num_key_value_heads;
  config.seed = conversion.seed;
  auto converted = std::make_unique<LanguageModel>(config);
  pool_parameters(model.parameters(), conversion.pooling, converted->parameters());
  return converted;
}

}  // namespace grouphead
