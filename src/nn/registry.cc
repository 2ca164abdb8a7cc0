// Which classes can be made from a configuration.

#include "nn/registry.h"

#include <span>

#include "core/check.h"
#include "grouphead/layers/serialization.h"
#include "nn/defined_class.h"
#include "nn/own_classes.h"

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
    {"AlphaDropout", nn::make_alpha_dropout},
    {"Attention", nn::make_attention},
    {"Average", nn::make_average},
    {"AveragePooling1D", nn::make_average_pooling_1d},
    {"AveragePooling2D", nn::make_average_pooling_2d},
    {"BatchNormalization", nn::make_batch_normalization},
    {"Bidirectional", nn::make_bidirectional},
    {"CategoryEncoding", nn::make_category_encoding},
    {"Concatenate", nn::make_concatenate},
    {"Conv1D", nn::make_conv_1d},
    {"Conv2D", nn::make_conv_2d},
    {"Cropping1D", nn::make_cropping_1d},
    {"Cropping2D", nn::make_cropping_2d},
    {"Dense", nn::make_dense},
    {"DepthwiseConv1D", nn::make_depthwise_conv_1d},
    {"DepthwiseConv2D", nn::make_depthwise_conv_2d},
    {"Dot", nn::make_dot},
    {"Dropout", nn::make_dropout},
    {"EinsumDense", nn::make_einsum_dense},
    {"ELU", nn::make_elu},
    {"Embedding", nn::make_embedding},
    {"Flatten", nn::make_flatten},
    {"GaussianDropout", nn::make_gaussian_dropout},
    {"GaussianNoise", nn::make_gaussian_noise},
    {"GlobalAveragePooling1D", nn::make_global_average_pooling_1d},
    {"GlobalAveragePooling2D", nn::make_global_average_pooling_2d},
    {"GlobalMaxPooling1D", nn::make_global_max_pooling_1d},
    {"GlobalMaxPooling2D", nn::make_global_max_pooling_2d},
    {"GroupNormalization", nn::make_group_normalization},
    {"GroupQueryAttention", nn::make_group_query_attention},
    {"GRU", nn::make_gru},
    {"Hashing", nn::make_hashing},
    {"Identity", nn::make_identity},
    {"IntegerLookup", nn::make_integer_lookup},
    {"LayerNormalization", nn::make_layer_normalization},
    {"LeakyReLU", nn::make_leaky_relu},
    {"LSTM", nn::make_lstm},
    {"Masking", nn::make_masking},
    {"Maximum", nn::make_maximum},
    {"MaxPooling1D", nn::make_max_pooling_1d},
    {"MaxPooling2D", nn::make_max_pooling_2d},
    {"Minimum", nn::make_minimum},
    {"MultiHeadAttention", nn::make_multi_head_attention},
    {"Multiply", nn::make_multiply},
    {"Normalization", nn::make_normalization},
    {"Permute", nn::make_permute},
    {"PReLU", nn::make_prelu},
    {"ReLU", nn::make_relu},
    {"RepeatVector", nn::make_repeat_vector},
    {"Rescaling", nn::make_rescaling},
    {"Reshape", nn::make_reshape},
    {"ReversibleEmbedding", nn::make_reversible_embedding},
    {"RMSNormalization", nn::make_rms_normalization},
    {"RNN", nn::make_rnn},
    {"SeparableConv1D", nn::make_separable_conv_1d},
    {"SeparableConv2D", nn::make_separable_conv_2d},
    {"SimpleRNN", nn::make_simple_rnn},
    {"Softmax", nn::make_softmax},
    {"SpatialDropout1D", nn::make_spatial_dropout_1d},
    {"SpatialDropout2D", nn::make_spatial_dropout_2d},
    {"StringLookup", nn::make_string_lookup},
    {"Subtract", nn::make_subtract},
    {"TextVectorization", nn::make_text_vectorization},
    {"TimeDistributed", nn::make_time_distributed},
    {"UnitNormalization", nn::make_unit_normalization},
    {"UpSampling1D", nn::make_up_sampling_1d},
    {"UpSampling2D", nn::make_up_sampling_2d},
    {"ZeroPadding1D", nn::make_zero_padding_1d},
    {"ZeroPadding2D", nn::make_zero_padding_2d},
};

// Models of this library that Keras does not have: known with and without their package.
constexpr Entry kModels[] = {
    {"EdificeGqa", nn::make_edifice_gqa},
    {"LanguageModel", nn::make_language_model},
    {"TransformerModel", nn::make_transformer_model},
};

// Keras's models, where a layer has one inside.
constexpr Entry kInnerModels[] = {
    {"Functional", nn::make_functional},
    {"Model", nn::make_functional},
    {"Sequential", nn::make_sequential},
};

// KerasHub's, known by their registered names alone: people give their own layers such names.
constexpr std::string_view kHubPackages[] = {"keras_hub>", "keras_nlp>"};
constexpr Entry kHubLayers[] = {
    {"CachedMultiHeadAttention", nn::make_cached_attention},
    {"MaskedLMHead", nn::make_masked_lm_head},
    {"PositionEmbedding", nn::make_position_embedding},
    {"ReversibleEmbedding", nn::make_reversible_embedding},
    {"RotaryEmbedding", nn::make_rotary_embedding},
    {"SinePositionEncoding", nn::make_sine_position_encoding},
    {"TokenAndPositionEmbedding", nn::make_token_and_position_embedding},
    {"TransformerDecoder", nn::make_transformer_decoder},
    {"TransformerEncoder", nn::make_transformer_encoder},
};

// The class in KerasHub; empty for a name of another package.
std::string_view hub_class(std::string_view registered_name) noexcept {
  for (const std::string_view package : kHubPackages) {
    if (registered_name.starts_with(package)) return registered_name.substr(package.size());
  }
  return {};
}

constexpr std::string_view kOperationModules = "keras.src.ops.";

nn::LayerFactory find_layer(std::string_view class_name) noexcept {
  if (const std::string_view known = hub_class(class_name); !known.empty()) {
    for (const Entry& entry : kHubLayers) {
      if (entry.class_name == known) return entry.make;
    }
    return nullptr;
  }
  for (const std::span<const Entry> entries :
       {std::span<const Entry>(kEntries), std::span<const Entry>(kInnerModels)}) {
    for (const Entry& entry : entries) {
      if (entry.class_name == class_name) return entry.make;
    }
  }
  if (class_name.starts_with(nn::kOwnPackage) &&
      class_name.substr(nn::kOwnPackage.size()).starts_with('>')) {
    class_name.remove_prefix(nn::kOwnPackage.size() + 1);
  }
  for (const Entry& entry : kModels) {
    if (entry.class_name == class_name) return entry.make;
  }
  return nullptr;
}

nn::OwnClasses<detail::LayerMaker>& own_layers() {
  static nn::OwnClasses<detail::LayerMaker> layers("register_layer");
  return layers;
}

/// What an envelope calls its class: the registered name where that is known.
std::string class_in(const ConfigValue& envelope) {
  const std::string name = nn::own_name_in(envelope);
  if (own_layers().find(name) || !hub_class(name).empty()) return name;
  return envelope["class_name"].as_string("class_name");
}

bool is_operation(const ConfigValue& envelope) {
  const ConfigValue& module = envelope["module"];
  return module.is_string() && module.as_string("module").starts_with(kOperationModules);
}

}  // namespace

void detail::register_layer(const std::string& name, std::type_index type, LayerMaker make) {
  own_layers().add(name, type, std::move(make));
}
void nn::define_layer(const std::string& name, detail::LayerMaker make) {
  own_layers().add_untyped(name, std::move(make));
}

std::shared_ptr<Layer> make_layer(std::string_view class_name, const ConfigValue& config) {
  if (const auto make = own_layers().find(std::string(class_name))) return make(config);
  if (const nn::LayerFactory make = find_layer(class_name)) return make(config);
  core::throw_config_error("make_layer", "class_name",
                           "a layer that this library has, or one of register_layer()", class_name);
}

std::vector<std::string_view> layer_class_names() {
  std::vector<std::string_view> names;
  for (const Entry& entry : kEntries) names.push_back(entry.class_name);
  return names;
}

std::shared_ptr<Layer> layer_from_config(const ConfigValue& envelope) {
  if (is_operation(envelope)) {
    return make_operation(envelope["module"].as_string("module"),
                          envelope["class_name"].as_string("class_name"), envelope["config"]);
  }
  return make_layer(class_in(envelope), envelope["config"]);
}

bool has_layer(const ConfigValue& envelope) {
  if (!is_operation(envelope)) {
    const std::string class_name = class_in(envelope);
    return own_layers().find(class_name) != nullptr || find_layer(class_name) != nullptr;
  }
  try {
    layer_from_config(envelope);
    return true;
  } catch (const ConfigError&) {
    return false;
  }
}

ConfigValue layer_to_config(const Layer& layer) {
  std::string own = own_layers().name_of(typeid(layer));
  if (const auto* defined = dynamic_cast<const nn::HasRegisteredName*>(&layer)) {
    own = defined->registered_name();
  }
  if (!own.empty()) return nn::own_envelope(own, layer.get_config());
  ConfigValue envelope = config_envelope(layer.module(), layer.class_name(), layer.get_config());
  // Keras registers by class name what its API does not export.
  if (layer.module().starts_with(kOperationModules)) {
    envelope.set("registered_name", layer.class_name());
  } else if (layer.module().starts_with("keras_hub.")) {
    envelope.set("registered_name", std::string("keras_hub>").append(layer.class_name()));
  } else if (layer.module().starts_with(nn::kOwnPackage)) {
    envelope.set("registered_name",
                 std::string(nn::kOwnPackage).append(">").append(layer.class_name()));
  }
  return envelope;
}

}  // namespace grouphead
