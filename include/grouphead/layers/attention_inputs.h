#pragma once

// What GroupQueryAttention and MultiHeadAttention are called with, and give back.

#include "grouphead/attention.h"
#include "grouphead/layers/layer.h"

#pragma GCC visibility push(default)
namespace grouphead {

/// Arguments of the two layers that are not tensors.
struct AttentionArguments : CallArguments {
  bool use_causal_mask = false;          ///< key j is visible to query i iff j <= i
  bool return_attention_scores = false;  ///< the second output
  Index causal_offset = 0;               ///< ours: ... iff j <= i + causal_offset
};

/// One call's inputs by name. Keras's positional order is (query, value, key); value serves as key
/// where none is given.
///
/// Masks are bool or integer tensors, true (not 0) = attend. The last one is ours.
struct AttentionInputs {
  Tensor query{};           ///< [B, T, M]
  Tensor value{};           ///< [B, S, Mv]
  Tensor key{};             ///< [B, S, Mk]
  Tensor query_mask{};      ///< [B, T]: which queries are real
  Tensor value_mask{};      ///< [B, S]
  Tensor key_mask{};        ///< [B, S]
  Tensor attention_mask{};  ///< [T, S], [B, T, S] or [B, H, T, S]; any axis may be 1
  Tensor attention_bias{};  ///< of attention_mask's shapes, floating: added to the logits
  bool use_causal_mask = false;
  Index causal_offset = 0;
};

/// What a call with scores gives.
struct AttentionOutput {
  Tensor output{};
  Tensor scores{};  ///< [B, H, T, S]: probabilities before dropout
};

}  // namespace grouphead
#pragma GCC visibility pop
