#pragma once

#include "grouphead/kv_cache.h"
#include "grouphead/layer.h"
#include "grouphead/rope.h"

namespace grouphead {

namespace detail {
class RopeTables;
}

/// Names and defaults are Keras's; `rope`, `causal` and `output_dim` are ours and off by default.
struct GroupQueryAttentionConfig {
  Index head_dim = 0;             ///< D >= 1; even with rope
  Index num_query_heads = 0;      ///< Hq >= 1
  Index num_key_value_heads = 0;  ///< Hkv >= 1, divides Hq
  bool use_bias = true;
  std::optional<RopeConfig> rope{};
  bool causal = false;   ///< every call has use_causal_mask
  Index output_dim = 0;  ///< width of y; 0: the query's
  std::string name = "grouped_query_attention";
  DtypePolicy dtype{};
};

/// GroupQueryAttention's arguments that are not tensors.
struct AttentionArguments : CallArguments {
  bool use_causal_mask = false;
  Index causal_offset = 0;  ///< key j is visible to query i iff j <= i + causal_offset; 0 is Keras
};

/// One call's inputs by name; Keras's positional order is (query, value, key).
struct AttentionInputs {
  Tensor query{};  ///< [B, T, M]
  Tensor value{};  ///< [B, S, Mv]
  Tensor key{};    ///< [B, S, Mk]; absent: value serves as key
  bool use_causal_mask = false;
  Index causal_offset = 0;
};

/// y = concat_h(softmax(mask(q_h k_{h/G}^T / sqrt(D))) v_{h/G}) W_o + b_o.
///
/// With rope, q and k are rotated; in a plain call the positions of both start at 0.
///
/// Shapes   inputs (query [B, T, M], value [B, S, Mv], optional key [B, S, Mk]); y [B, T, M]. One
///          input alone is query, value and key, and gets the sum of their gradients
/// Errors   ConfigError, ShapeError: operand, expected, received; also for an input with a mask,
///          which this layer cannot honour
/// Memory   O(T + S): no T x S buffer, forward or backward. Saved: inputs, q, k, v, per-head
///          results and their log-sum-exps
/// Source   Ainslie et al. 2023, arXiv:2305.13245; keras.layers.GroupQueryAttention 3.15.1
class GroupQueryAttention final : public Layer {
 public:
  explicit GroupQueryAttention(const GroupQueryAttentionConfig& config);
  ~GroupQueryAttention() override;
  void build(std::span<const Shape> inputs, RandomStream& random) override;
  std::vector<Value> forward(Context& ctx, std::span<const Value> in, const Mode& mode,
                             std::unique_ptr<Saved>* saved) const override;
  void backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out, std::span<View> d_in,
                Grads& grads) const override;
  void append_parameters(const std::string& prefix, ParameterList& out) const override;

  const GroupQueryAttentionConfig& config() const noexcept { return config_; }

  /// The typed front of forward().
  Tensor operator()(Context& ctx, const AttentionInputs& in,
                    std::unique_ptr<Saved>* saved = nullptr) const;

  /// Causal self-attention of x [B, T, M] at positions cache.length() .. + T - 1: stores their keys
  /// and values in layer `layer` of the cache and attends to all stored positions. The caller
  /// advances the cache once all layers have run. No allocation of ours once warm.
  Tensor apply_cached(Context& ctx, const Tensor& x, KvCache& cache, Index layer) const;

  /// Uses the rotation tables of `other`, which has the same rule, instead of own ones.
  void share_rope_tables(const GroupQueryAttention& other);

 private:
  struct Weights;
  struct Heads;
  Heads project(Context& ctx, const AttentionInputs& in, Index first_position,
                Index capacity) const;

  GroupQueryAttentionConfig config_;
  std::shared_ptr<detail::RopeTables> rope_tables_;  // null without rope
  std::unique_ptr<Weights> weights_;                 // null before build()
};

}  // namespace grouphead
