#pragma once

// The blocks of KerasHub's Llama, Mistral and Gemma: x [B, T, M], and where it is given
// padding_mask [B, T], to [B, T, M].

#include <optional>

#include "grouphead/layers/initializers.h"
#include "models/hub/rotary.h"

namespace grouphead::models::hub {

struct GatedBlockConfig {
  std::string_view class_name;  ///< LlamaTransformerDecoder or MistralTransformerDecoder
  std::string_view norm_class;
  Index num_query_heads = 0;
  Index num_key_value_heads = 0;
  Index head_dim = 0;  ///< 0: the width over num_query_heads
  Index intermediate_dim = 0;
  RotaryRule rotary{};
  std::optional<Index> window{};
  double epsilon = 1e-6;
  double dropout = 0;
  Initializer kernel_initializer{};
  std::string name{};
  DtypePolicy dtype{};
};
/// x + attention(norm(x)), then y + down(up(norm(y)) silu(gate(norm(y)))).
std::shared_ptr<Layer> gated_block(const GatedBlockConfig& config);

struct GemmaBlockConfig {
  Index num_query_heads = 0;
  Index num_key_value_heads = 0;
  Index head_dim = 0;
  Index intermediate_dim = 0;  ///< twice the width of the gate
  std::optional<double> soft_cap{};
  std::optional<Index> window{};
  bool norm_after_attention = false;
  bool norm_after_feed_forward = false;
  double dropout = 0;
  std::string name{};
  DtypePolicy dtype{};
};
/// The same with gelu, gains of 1 + scale, and norms after attention and feed-forward.
std::shared_ptr<Layer> gemma_block(const GemmaBlockConfig& config);

}  // namespace grouphead::models::hub
