#pragma once

// KerasHub's layers, and those inside its models' blocks. Names, configurations and numbers are
// those of KerasHub 0.32; nn/registry.cc knows the first ones as `keras_hub>NAME`.

#include <optional>

#include "grouphead/attention.h"
#include "grouphead/layers/embedding.h"
#include "grouphead/layers/multi_head_attention.h"
#include "models/hub/rotary.h"

namespace grouphead::models::hub {

struct ReversibleEmbeddingConfig {
  EmbeddingConfig tokens{};
  bool tie_weights = true;  ///< logits by the transposed table, not by weights of their own
  bool reverses_in_f32 = false;
  std::optional<double> logit_soft_cap{};  ///< c: logits become c tanh(logits / c)
};
/// Tokens to rows of a table [V, M]; called with `reverse` = true, x [.., M] to logits [.., V].
std::shared_ptr<Layer> reversible_embedding(const ReversibleEmbeddingConfig& config);
/// Logits leave it in the type of its weights, as in KerasHub's tasks, where a policy's casts are
/// the model's. For layers that reversible_embedding() made.
void set_stored_logits(Layer& layer);

/// A MultiHeadAttention that sees the masks it is called with, not those on its inputs; a cache is
/// refused. Operands (query, value, key, attention_mask, padding_mask); the last one, which keys
/// are real, [B, S], is ours, as is the keyword use_causal_mask.
std::shared_ptr<Layer> cached_attention(const MultiHeadAttentionConfig& config);

/// What attention between projections is told.
struct HeadAttentionConfig {
  std::optional<RotaryRule> rotary{};  ///< of query and key
  bool causal = true;
  std::optional<Index> window{};     ///< W: query i sees keys |i - j| < W
  std::optional<double> soft_cap{};  ///< c: logits become c tanh(logits / c)
  double dropout = 0;                ///< of the probabilities
  MaskedRows masked_rows = MaskedRows::uniform;
  std::string name = "heads";
  DtypePolicy dtype{};
};
/// Attention of heads: query [B, T, Hq, D], key and value [B, S, Hkv, D], padding_mask [B, S] to
/// [B, T, Hq, D].
std::shared_ptr<Layer> head_attention(const HeadAttentionConfig& config);

struct ScaleNormConfig {
  std::string_view class_name;  ///< of KerasHub
  bool from_one = false;        ///< the gains are 1 + scale
  double epsilon = 1e-6;
  std::string name{};
  DtypePolicy dtype{};
};
/// y = gains x / sqrt(mean(x^2) + epsilon).
std::shared_ptr<Layer> scale_norm(const ScaleNormConfig& config);

}  // namespace grouphead::models::hub
