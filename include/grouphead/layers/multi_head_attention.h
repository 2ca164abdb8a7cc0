#pragma once

#include "grouphead/core/kv_cache.h"
#include "grouphead/layers/attention_inputs.h"
#include "grouphead/layers/constraints.h"
#include "grouphead/layers/initializers.h"
#include "grouphead/layers/layer.h"
#include "grouphead/layers/quantization.h"

#pragma GCC visibility push(default)
namespace grouphead {

namespace nn {
class AttentionAxes;
class AttentionCore;
}  // namespace nn

/// Names and defaults are Keras's; from `softcap` to `masked_rows` they are ours.
struct MultiHeadAttentionConfig {
  Index num_heads = 0;                    ///< H >= 1
  Index key_dim = 0;                      ///< D >= 1, of q and k
  std::optional<Index> value_dim{};       ///< Dv >= 1; absent: key_dim
  double dropout = 0;                     ///< of the probabilities, in [0, 1]
  bool use_bias = true;                   ///< in every projection
  Shape output_shape{};                   ///< last axes of y; rank 0: the query's width
  std::vector<Index> attention_axes{};    ///< of the inputs, negative from the end; none: all inner
  std::optional<Index> sliding_window{};  ///< W >= 1: query i sees keys |i - j| < W
  std::optional<bool> flash_attention{};  ///< true: refuse dropout and scores, as Keras does
  Initializer kernel_initializer = initializers::glorot_uniform();
  Initializer bias_initializer = initializers::zeros();
  Regularizer kernel_regularizer{};
  Regularizer bias_regularizer{};
  Regularizer activity_regularizer{};  ///< of each projection
  Constraint kernel_constraint{};
  Constraint bias_constraint{};
  bool use_gate = false;                ///< heads *= sigmoid(query W_g + b_g)
  std::optional<std::uint64_t> seed{};  ///< of dropout
  std::optional<double> softcap{};      ///< logits x become softcap tanh(x / softcap)
  std::vector<double> alibi_slopes{};   ///< of each query head, see alibi_slopes(); empty: none
  bool sinks = false;  ///< one more logit for each head's softmax, trained, without a value
  MaskedRows masked_rows = MaskedRows::keras;
  std::string name = "multi_head_attention";
  DtypePolicy dtype{};
};

/// y = concat_h(dropout(softmax(mask(q_h k_h^T / sqrt(D)))) v_h [* gate_h]) W_o + b_o, over the
/// attention axes A of inputs [B, d_1 .. d_n, M].
///
/// Operands (query, value, key, query_mask, value_mask, key_mask, attention_mask, attention_bias)
/// and arguments as GroupQueryAttention's, with T and S the attention axes of query and value; all
/// other axes before the last are batches and equal in both. As in Keras an explicit query_mask has
/// no effect: the mask attached to the query has. Masks of positions, causal masks and windows
/// count along axis 1, which must be the one attention axis (or, for the latter two, as long).
///
/// Outputs  y: query's shape with output_shape for its last axis; with return_attention_scores also
///          the scores [other axes .., H, T axes .., S axes ..]
/// Errors   ConfigError, ShapeError: operand, expected, received
/// Memory   as GroupQueryAttention; axes that are not the last inner ones in ascending order cost a
///          copy of the inputs and of y
/// Source   Vaswani et al. 2017, arXiv:1706.03762; keras.layers.MultiHeadAttention 3.15.1
class MultiHeadAttention final : public detail::AttentionLayer, public HasQuantization {
 public:
  using Config = MultiHeadAttentionConfig;
  explicit MultiHeadAttention(const MultiHeadAttentionConfig& config);
  ~MultiHeadAttention() override;
  std::string_view class_name() const override { return "MultiHeadAttention"; }
  ConfigValue get_config() const override;
  std::span<const std::string_view> input_names() const override;
  std::unique_ptr<CallArguments> arguments_from_config(const ConfigValue& keywords) const override;
  ConfigValue arguments_config(const CallArguments* arguments) const override;
  std::vector<Shape> output_shapes(std::span<const Shape> inputs,
                                   const CallArguments* arguments) const override;
  bool can_decode(std::span<const Shape> inputs, const CallArguments* arguments) const override;
  void backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out, std::span<View> d_in,
                Grads& grads) const override;
  void append_parameters(const std::string& prefix, ParameterList& out) override;
  const Quantization* quantization() const noexcept override;
  bool takes_quantization(QuantizationMode mode) const override;
  void plan_quantization(const Quantization& how, nn::QuantizationPlan& plan) override;

  /// As GroupQueryAttention's: causal self-attention of x [B, T, M] over a cache, and attention to
  /// a source whose keys and values are computed once. Errors: ConfigError where attention_axes are
  /// not the one of positions.
  Tensor apply_cached(Context& ctx, const Tensor& x, KvCache& cache, Index layer,
                      std::span<const Index> counts = {}) const;
  void store_source(Context& ctx, const Tensor& source, KvCache& cache, Index layer,
                    std::span<const Index> counts = {}) const;
  Tensor apply_to_source(Context& ctx, const Tensor& x, const KvCache& cache, Index layer) const;

  Index num_heads() const noexcept { return config_.num_heads; }
  Index key_dim() const noexcept { return config_.key_dim; }
  Index value_dim() const noexcept { return config_.value_dim.value_or(config_.key_dim); }
  double dropout() const noexcept { return config_.dropout; }
  bool use_bias() const noexcept { return config_.use_bias; }
  /// As given until build(), then counted from the front; empty only before build().
  const std::vector<Index>& attention_axes() const noexcept { return config_.attention_axes; }
  const Shape& output_shape() const noexcept { return config_.output_shape; }
  // Kernel and bias (if any) of a projection; empty before build().
  ConstParameterList query_dense() const { return projection("query/"); }
  ConstParameterList key_dense() const { return projection("key/"); }
  ConstParameterList value_dense() const { return projection("value/"); }
  ConstParameterList output_dense() const { return projection("attention_output/"); }

  const MultiHeadAttentionConfig& config() const noexcept { return config_; }
  /// Where dropout draws without Mode::random. Null before build() and without dropout.
  const SeedGenerator* seed_generator() const noexcept;

 private:
  void create_parameters(std::span<const Shape> inputs, RandomStream& random) override;
  std::vector<Value> run(Context& ctx, const nn::AttentionOperands& in, const Mode& mode,
                         std::unique_ptr<Saved>* saved) const override;
  ConstParameterList projection(std::string_view prefix) const;
  nn::AttentionAxes axes_of(int rank) const;
  void require_one_axis() const;
  Tensor outputs(const Tensor& y) const;

  MultiHeadAttentionConfig config_;
  int input_rank_ = 0;  // of build()
  std::unique_ptr<nn::AttentionCore> core_;
};

}  // namespace grouphead
#pragma GCC visibility pop
