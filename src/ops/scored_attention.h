#pragma once

// Attention whose logits are made otherwise than the kernels of attention.h make them: by the
// additive rule, or for queries that see no key. Plain loops over tiles of keys, f32 and f64.

#include "grouphead/core/context.h"
#include "grouphead/core/random.h"

namespace grouphead::ops {

/// How query q and key k make a logit.
enum class ScoreRule : std::uint8_t {
  dot,      ///< sum_d q_d k_d
  additive  ///< sum_d weights_d tanh(q_d + k_d)
};

/// Which queries are computed; outputs of the others stay as they are.
enum class ScoredRows : std::uint8_t {
  all,
  fully_masked  ///< those that see no key
};

/// A query that sees no key takes every key, the masked ones and those after it too, with logits
/// lowered by 1e9 (65504 on the grid of f16) and rounded to `grid`: as a rule one number for all.
struct ScoredAttentionOptions {
  ScoreRule rule = ScoreRule::dot;
  ConstView weights{};   ///< [D], for the additive rule
  bool causal = false;   ///< key j is visible to query t iff j <= t
  ConstView key_mask{};  ///< bool [B, S]; absent: all keys are real
  ScoredRows rows = ScoredRows::all;
  Dtype grid = Dtype::f32;
  /// Each probability is dropped with this rate, in [0, 1], the others divided by 1 - rate; element
  /// (b T + t) S + j of the draw decides.
  double dropout_rate = 0;
  RandomDraw draw{};
};

/// Whether some query sees no key.
bool has_fully_masked_rows(const ScoredAttentionOptions& options, Index B, Index T, Index S);

/// out = dropout(softmax(mask(logits))) v. With `scores` [B, T, S], the factors of v go there.
///
/// Shapes  q [B, T, D], k [B, S, D], v [B, S, Dv], out [B, T, Dv], contiguous; max and inverse
///         [B, T] keep the largest logit and the inverse sum of each row for the backward
/// Memory  per thread a tile of 16 keys: 16 D elements
/// Source  keras.layers.Attention, keras.layers.AdditiveAttention; Milakov & Gimelshein 2018
void scored_attention_forward(Context& ctx, ConstView q, ConstView k, ConstView v,
                              const ScoredAttentionOptions& options, View out, View max,
                              View inverse, View scores);

struct ScoredGradients {
  ConstView d_out{};
  ConstView d_scores{};  ///< cotangent of `scores`, whose values `scores` must then be; or absent
  View d_q{}, d_k{}, d_v{};
  View d_weights{};  ///< [D]; absent for the dot rule
};

/// Adds the gradients, from the forward's operands and what it wrote. Each logit is made anew,
/// once for the queries' gradients and once for the keys'.
void scored_attention_backward(Context& ctx, ConstView q, ConstView k, ConstView v, ConstView out,
                               ConstView max, ConstView inverse, ConstView scores,
                               const ScoredAttentionOptions& options,
                               const ScoredGradients& gradients);

}  // namespace grouphead::ops
