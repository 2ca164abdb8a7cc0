#pragma once

#include "grouphead/core/kv_cache.h"
#include "grouphead/layers/attention_inputs.h"
#include "grouphead/layers/constraints.h"
#include "grouphead/layers/initializers.h"
#include "grouphead/layers/layer.h"
#include "grouphead/layers/quantization.h"
#include "grouphead/layers/rope.h"

#pragma GCC visibility push(default)
namespace grouphead {

namespace nn {
class AttentionCore;
}

/// Names and defaults are Keras's; from `rope` to `masked_rows` they are ours.
struct GroupQueryAttentionConfig {
  Index head_dim = 0;                     ///< D >= 1; even with rope
  Index num_query_heads = 0;              ///< Hq >= 1
  Index num_key_value_heads = 0;          ///< Hkv >= 1, divides Hq
  double dropout = 0;                     ///< of the probabilities, in [0, 1]
  bool use_bias = true;                   ///< in every projection
  std::optional<Index> sliding_window{};  ///< W >= 1: query i sees keys |i - j| < W
  std::optional<bool> flash_attention{};  ///< true: refuse dropout and scores, as Keras does
  Initializer kernel_initializer = initializers::glorot_uniform();
  Initializer bias_initializer = initializers::zeros();
  Regularizer kernel_regularizer{};
  Regularizer bias_regularizer{};
  Regularizer activity_regularizer{};  ///< of each projection and of the outputs
  Constraint kernel_constraint{};
  Constraint bias_constraint{};
  bool use_gate = false;                ///< heads *= sigmoid(query W_g + b_g)
  std::optional<std::uint64_t> seed{};  ///< of dropout
  std::optional<RopeConfig> rope{};     ///< rotates q and k
  bool causal = false;                  ///< every call has use_causal_mask
  Index output_dim = 0;                 ///< width of y; 0: the query's
  std::optional<double> softcap{};      ///< logits x become softcap tanh(x / softcap)
  std::vector<double> alibi_slopes{};   ///< of each query head, see alibi_slopes(); empty: none
  bool sinks = false;  ///< one more logit for each head's softmax, trained, without a value
  MaskedRows masked_rows = MaskedRows::keras;
  std::string name = "grouped_query_attention";
  DtypePolicy dtype{};
};

/// y = concat_h(dropout(softmax(mask(q_h k_{h/G}^T / sqrt(D)))) v_{h/G} [* gate_h]) W_o + b_o.
///
/// Operands (query, value, key, query_mask, value_mask, key_mask, attention_mask, attention_bias),
/// shapes as in AttentionInputs; arguments AttentionArguments. One input alone is query, value and
/// key, and gets the sum of their gradients. Masks attached to query, value and key stand in for
/// masks that are not given; the query's leaves with y. With rope, q and k are rotated; in a plain
/// call the positions of both start at 0.
///
/// Outputs  y [B, T, M]; with return_attention_scores also the scores [B, Hq, T, S]
/// Errors   ConfigError, ShapeError: operand, expected, received
/// Memory   O(T + S): no T x S buffer but the scores, where asked for. Saved: inputs, q, k, v,
///          per-head results and their log-sum-exps
/// Source   Ainslie et al. 2023, arXiv:2305.13245; keras.layers.GroupQueryAttention 3.15.1
class GroupQueryAttention final : public detail::AttentionLayer, public HasQuantization {
 public:
  using Config = GroupQueryAttentionConfig;
  explicit GroupQueryAttention(const GroupQueryAttentionConfig& config);
  ~GroupQueryAttention() override;
  std::string_view class_name() const override { return "GroupQueryAttention"; }
  ConfigValue get_config() const override;
  std::span<const std::string_view> input_names() const override;
  std::unique_ptr<CallArguments> arguments_from_config(const ConfigValue& keywords) const override;
  ConfigValue arguments_config(const CallArguments* arguments) const override;
  /// Errors: ShapeError also where Keras refuses symbols alone: query and value of unequal width.
  std::vector<Shape> output_shapes(std::span<const Shape> inputs,
                                   const CallArguments* arguments) const override;
  bool can_decode(std::span<const Shape> inputs, const CallArguments* arguments) const override;
  void backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out, std::span<View> d_in,
                Grads& grads) const override;
  void append_parameters(const std::string& prefix, ParameterList& out) override;
  const Quantization* quantization() const noexcept override;
  bool takes_quantization(QuantizationMode mode) const override;
  void plan_quantization(const Quantization& how, nn::QuantizationPlan& plan) override;

  const GroupQueryAttentionConfig& config() const noexcept { return config_; }
  /// Where dropout draws without Mode::random. Null before build() and without dropout.
  const SeedGenerator* seed_generator() const noexcept;

  /// Causal self-attention of x [B, T, M] at positions cache.length(b) .. + T - 1 of each sequence
  /// b: stores their keys and values in layer `layer` of the cache and attends to all stored
  /// positions. With `counts` sequence b has counts[b] rows, 0 to T; what y has behind them is of
  /// no use. The caller advances the cache once all layers have run. With sliding_window a ring of
  /// that window, or a larger one, does as well. No allocation of ours once warm.
  Tensor apply_cached(Context& ctx, const Tensor& x, KvCache& cache, Index layer,
                      std::span<const Index> counts = {}) const;
  /// The same of rows x [1, N, M] of some sequences, one after the other: bitwise what each gets
  /// alone.
  Tensor apply_packed(Context& ctx, const Tensor& x, KvCache& cache, Index layer,
                      std::span<const SequenceRows> rows) const;

  /// Cross-attention whose keys and values are computed once: stores those of `source` [B, S, M],
  /// counts[b] rows of sequence b (absent: S), in layer `layer` of a cache; the caller advances it
  /// once all layers have run. Errors: ConfigError with rope, sliding_window or causal, which ask
  /// for positions.
  void store_source(Context& ctx, const Tensor& source, KvCache& cache, Index layer,
                    std::span<const Index> counts = {}) const;
  /// Attention of x [B, T, M] to the source of each sequence; stores nothing. As
  /// layer(ctx, {.query = x, .value = source, .value_mask = the rows that count}).
  Tensor apply_to_source(Context& ctx, const Tensor& x, const KvCache& cache, Index layer) const;

  /// Uses the rotation tables of `other`, which has the same rule, instead of own ones.
  void share_rope_tables(const GroupQueryAttention& other);

 private:
  void create_parameters(std::span<const Shape> inputs, RandomStream& random) override;
  std::vector<Value> run(Context& ctx, const nn::AttentionOperands& in, const Mode& mode,
                         std::unique_ptr<Saved>* saved) const override;
  GroupQueryAttentionConfig config_;
  std::unique_ptr<nn::AttentionCore> core_;
};

}  // namespace grouphead
#pragma GCC visibility pop
