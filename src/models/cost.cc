#include "models/cost.h"

#include "models/transformer.h"

namespace grouphead {
namespace {

CacheCost cost_of(const TransformerConfig& config, std::string variant, Index num_key_value_heads) {
  const Index head_dim = config.hidden_size / config.num_heads;
  const Index elements = 2 * num_key_value_heads * head_dim;
  return {.variant = std::move(variant),
          .num_key_value_heads = num_key_value_heads,
          .elements_per_layer = elements,
          .bytes_per_token = elements * config.num_layers * size_of(config.dtype),
          .relative_to_mha =
              static_cast<double>(num_key_value_heads) / static_cast<double>(config.num_heads)};
}

// Kernel elements of one block.
Index block_kernel_elements(const TransformerConfig& config) noexcept {
  const Index hidden = config.hidden_size;
  const Index kv = config.num_key_value_heads * (hidden / config.num_heads);
  const Index feed_forward = config.feed_forward > 0 ? config.feed_forward : 4 * hidden;
  return 2 * hidden * hidden + 2 * hidden * kv + 2 * hidden * feed_forward;
}

}  // namespace

Index cached_elements(const TransformerModelConfig& config) noexcept {
  const SelfAttentionConfig& a = config.attention;
  return config.causal ? 2 * a.num_key_value_heads * a.head_dim * config.num_layers : 0;
}

Index cached_elements(const Layer& model) {
  if (const auto* described = dynamic_cast<const TransformerModel*>(&model)) {
    return cached_elements(described->config());
  }
  const std::optional<TransformerConfig> config = transformer_of(model);
  if (!config) return 0;
  const Index head = config->hidden_size / config->num_heads;
  return 2 * config->num_key_value_heads * head * config->num_layers;
}

std::optional<TransformerConfig> transformer_of(const Layer& model) {
  if (const auto* language_model = dynamic_cast<const LanguageModel*>(&model)) {
    return language_model->config().transformer;
  }
  if (const auto* gqa = dynamic_cast<const edifice::Gqa*>(&model)) {
    return edifice::stack_config(gqa->options());
  }
  return {};
}

std::vector<CacheCost> cache_costs(const TransformerConfig& config) {
  std::vector<CacheCost> costs;
  costs.push_back(cost_of(config, "MHA", config.num_heads));
  if (config.num_key_value_heads != 1 && config.num_key_value_heads != config.num_heads) {
    costs.push_back(cost_of(config, "GQA", config.num_key_value_heads));
  }
  if (config.num_heads != 1) costs.push_back(cost_of(config, "MQA", 1));
  return costs;
}

Index stack_param_count_edifice(const TransformerConfig& config) noexcept {
  return config.num_layers * block_kernel_elements(config);
}

}  // namespace grouphead
