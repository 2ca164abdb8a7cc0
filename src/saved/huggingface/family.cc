#include "saved/huggingface/family.h"

#include <algorithm>

namespace grouphead::saved {
namespace {

struct NamedActivation {
  std::string_view name;
  Activation::Kind kind;
};
// Of transformers' ACT2FN those that are computed here.
constexpr NamedActivation kActivations[] = {
    {"gelu", Activation::gelu},           {"gelu_python", Activation::gelu},
    {"gelu_new", Activation::gelu_tanh},  {"gelu_pytorch_tanh", Activation::gelu_tanh},
    {"gelu_fast", Activation::gelu_tanh}, {"linear", Activation::linear},
    {"mish", Activation::mish},           {"relu", Activation::relu},
    {"relu6", Activation::relu6},         {"sigmoid", Activation::sigmoid},
    {"silu", Activation::silu},           {"swish", Activation::silu},
    {"tanh", Activation::tanh},
};

std::vector<Family> all_families() {
  std::vector<Family> all;
  for (const std::span<const Family> some :
       {llama_families(), gpt_families(), encoder_families()}) {
    all.insert(all.end(), some.begin(), some.end());
  }
  std::sort(all.begin(), all.end(),
            [](const Family& a, const Family& b) { return a.model_type < b.model_type; });
  return all;
}

const std::vector<Family>& families() {
  static const std::vector<Family> all = all_families();
  return all;
}

}  // namespace

const Family* find_family(std::string_view model_type) {
  for (const Family& family : families()) {
    if (family.model_type == model_type) return &family;
  }
  return nullptr;
}

std::string known_families() {
  std::string names;
  for (const Family& family : families()) {
    names.append(names.empty() ? "" : ", ").append(family.model_type);
  }
  return names;
}

Activation activation_of(HubConfig& config, std::initializer_list<std::string_view> keys,
                         std::string_view fallback) {
  const std::string name = config.text(keys, fallback);
  std::string known;
  for (const NamedActivation& one : kActivations) {
    if (one.name == name) return one.kind;
    known.append(known.empty() ? "" : ", ").append(one.name);
  }
  config.refuse(*keys.begin(), "one of " + known, name);
}

TransformerModelConfig plain_blocks_of(HubConfig& config, const PlainKeys& keys) {
  const auto size = [&](const KeyOf<Index>& key) {
    return config.size({key.name, key.other_name}, key.fallback);
  };
  const auto count = [&](const KeyOf<Index>& key) {
    return config.count({key.name, key.other_name}, key.fallback);
  };
  const auto rate = [&](const KeyOf<double>& key) {
    return config.number({key.name}, key.fallback);
  };
  TransformerModelConfig m;
  m.vocab_size = size(keys.words);
  m.hidden_size = size(keys.hidden);
  m.num_layers = count(keys.layers);
  SelfAttentionConfig& a = m.attention;
  a.num_heads = a.num_key_value_heads = count(keys.heads);
  a.head_dim = m.hidden_size / a.num_heads;
  if (m.hidden_size % a.num_heads != 0) {
    config.refuse(keys.heads.name, "a divisor of " + std::to_string(m.hidden_size),
                  std::to_string(a.num_heads));
  }
  KeyOf<Index> width = keys.width;
  if (width.fallback == 0) width.fallback = 4 * m.hidden_size;
  m.norm = {.kind = NormKind::layer, .epsilon = rate(keys.epsilon), .use_bias = true};
  m.feed_forward.gated = false;
  m.feed_forward.width = size(width);
  m.feed_forward.activation =
      activation_of(config, {keys.activation.name}, keys.activation.fallback);
  a.dropout = rate(keys.attention_dropout);
  m.residual_dropout = rate(keys.residual_dropout);
  m.embedding_dropout = rate(keys.embedding_dropout);
  return m;
}

std::optional<Index> window_of(HubConfig& config) {
  if (!config.has("sliding_window")) return {};
  return config.size({"sliding_window"}, 1);
}

std::vector<TransformerLayerConfig> layers_of(HubConfig& config, Index num_layers,
                                              std::optional<Index> window,
                                              bool (*is_full)(Index layer), Index sliding_rope) {
  constexpr std::string_view kKey = "layer_types";
  std::vector<bool> full;
  if (config.has(kKey)) {
    if (!config.value(kKey).is_list()) config.refuse(kKey, "a list");
    for (const ConfigValue& type : config.value(kKey).as_list(kKey)) {
      if (type != ConfigValue("full_attention") && type != ConfigValue("sliding_attention")) {
        config.refuse(kKey, "full_attention and sliding_attention");
      }
      full.push_back(type == ConfigValue("full_attention"));
    }
    if (static_cast<Index>(full.size()) != num_layers) {
      config.refuse(kKey, std::to_string(num_layers) + ", one for each layer");
    }
  } else {
    for (Index layer = 0; layer < num_layers; ++layer) full.push_back(is_full(layer));
  }
  std::vector<TransformerLayerConfig> layers;
  for (const bool one : full) {
    if (!one && !window) config.refuse("sliding_window", "a number for sliding_attention", "none");
    layers.push_back(one ? TransformerLayerConfig{.rope = 0}
                         : TransformerLayerConfig{.window = window, .rope = sliding_rope});
  }
  return layers;
}

}  // namespace grouphead::saved
