// Which classes can be made from a configuration.

#include "nn/registry.h"

#include "core/check.h"
#include "grouphead/layers/serialization.h"

namespace grouphead {
namespace {

struct Entry {
  std::string_view class_name;
  nn::LayerFactory make;
};
// One line per class, in the order of the alphabet.
constexpr Entry kEntries[] = {
    {"Activation", nn::make_activation},
    {"Add", nn::make_add},
    {"AdditiveAttention", nn::make_additive_attention},
    {"Attention", nn::make_attention},
    {"Concatenate", nn::make_concatenate},
    {"Dense", nn::make_dense},
    {"Dropout", nn::make_dropout},
    {"EinsumDense", nn::make_einsum_dense},
    {"Embedding", nn::make_embedding},
    {"Flatten", nn::make_flatten},
    {"GlobalAveragePooling1D", nn::make_global_average_pooling_1d},
    {"GlobalMaxPooling1D", nn::make_global_max_pooling_1d},
    {"GroupQueryAttention", nn::make_group_query_attention},
    {"LayerNormalization", nn::make_layer_normalization},
    {"Masking", nn::make_masking},
    {"MultiHeadAttention", nn::make_multi_head_attention},
    {"Multiply", nn::make_multiply},
    {"Permute", nn::make_permute},
    {"Reshape", nn::make_reshape},
    {"RMSNormalization", nn::make_rms_normalization},
    {"Softmax", nn::make_softmax},
};

constexpr std::string_view kOperationModules = "keras.src.ops.";

const Entry* find_layer(std::string_view class_name) noexcept {
  for (const Entry& entry : kEntries) {
    if (entry.class_name == class_name) return &entry;
  }
  return nullptr;
}

bool is_operation(const ConfigValue& envelope) {
  const ConfigValue& module = envelope["module"];
  return module.is_string() && module.as_string("module").starts_with(kOperationModules);
}

}  // namespace

std::shared_ptr<Layer> make_layer(std::string_view class_name, const ConfigValue& config) {
  if (const Entry* entry = find_layer(class_name)) return entry->make(config);
  detail::throw_config_error("make_layer", "class_name", "a layer that this library has",
                             class_name);
}

std::vector<std::string_view> layer_class_names() {
  std::vector<std::string_view> names;
  for (const Entry& entry : kEntries) names.push_back(entry.class_name);
  return names;
}

std::shared_ptr<Layer> layer_from_config(const ConfigValue& envelope) {
  const std::string& class_name = envelope["class_name"].as_string("class_name");
  if (is_operation(envelope)) {
    return make_operation(envelope["module"].as_string("module"), class_name, envelope["config"]);
  }
  return make_layer(class_name, envelope["config"]);
}

bool has_layer(const ConfigValue& envelope) {
  if (!is_operation(envelope)) {
    return find_layer(envelope["class_name"].as_string("class_name")) != nullptr;
  }
  try {
    layer_from_config(envelope);
    return true;
  } catch (const ConfigError&) {
    return false;
  }
}

ConfigValue layer_to_config(const Layer& layer) {
  ConfigValue envelope = config_envelope(layer.module(), layer.class_name(), layer.get_config());
  // Keras registers by class name what its API does not export.
  if (layer.module().starts_with(kOperationModules)) {
    envelope.set("registered_name", layer.class_name());
  }
  return envelope;
}

}  // namespace grouphead
