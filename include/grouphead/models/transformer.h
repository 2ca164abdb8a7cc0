#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "grouphead/core/kv_cache.h"
#include "grouphead/layers/activation.h"
#include "grouphead/layers/layer.h"
#include "grouphead/layers/rope.h"

#pragma GCC visibility push(default)
namespace grouphead {

enum class NormKind : int { layer, rms };

/// How rows are normalised: LayerNorm, or RMSNorm, y = gamma x / sqrt(mean(x^2) + epsilon).
struct NormConfig {
  NormKind kind = NormKind::rms;
  double epsilon = 1e-6;
  bool gains_from_one = false;  ///< gains are 1 + gamma, as Gemma has them
  bool use_bias = false;        ///< of LayerNorm alone
};

/// Where a block's norms stand around attention and around the feed-forward, f:
///   before     x + f(norm(x))              most decoders
///   after      x + norm(f(x))              OLMo 2
///   both       x + norm_2(f(norm_1(x)))    Gemma 2 and 3
///   after_sum  norm(x + f(x))              BERT
enum class NormPlacement : int { before, after, both, after_sum };

/// How projected queries and keys are normalised before they are rotated: not at all, each head by
/// gains that all heads share, by gains of its own, or all heads of a position together.
enum class QueryKeyNorm : int { none, shared_gains, own_gains, all_heads };

struct SelfAttentionConfig {
  Index num_heads = 8;            ///< Hq
  Index num_key_value_heads = 8;  ///< Hkv, divides Hq
  Index head_dim = 64;            ///< D
  bool query_bias = false;
  bool key_bias = false;
  bool value_bias = false;
  bool output_bias = false;
  QueryKeyNorm query_key_norm = QueryKeyNorm::none;
  NormConfig query_key_norm_config{};
  std::optional<double> scale{};  ///< of the products q k; absent: 1 / sqrt(D)
  bool scale_by_depth = false;    ///< divides it by the number of the layer, from 1
  std::optional<double> softcap{};
  std::vector<double> alibi_slopes{};  ///< one for each head, or none
  bool sinks = false;                  ///< a trained logit for each head without a value
  double dropout = 0;                  ///< of the probabilities
};

/// y = down(act(up(x))); gated: y = down(act(gate(x)) * up(x)).
///
/// With experts, each position goes through the experts_per_token of them that a linear router
/// rates highest, weighted by the softmax of their ratings. Source: Mixtral, arXiv:2401.04088.
struct FeedForwardConfig {
  Index width = 0;  ///< F
  Activation activation = Activation::silu;
  bool gated = true;
  bool use_bias = false;
  /// Of gated ones, in place of the activation: gate' = min(gate, limit), up' = up cut to +-limit,
  /// down(gate' sigmoid(alpha gate') (up' + 1)). Source: gpt-oss, arXiv:2508.10925.
  std::optional<double> clamp_limit{};
  double clamp_alpha = 1.702;
  Index num_experts = 0;  ///< 0: one feed-forward for all
  Index experts_per_token = 0;
  bool router_bias = false;
};

/// What one layer's attention does otherwise than the others'.
struct TransformerLayerConfig {
  std::optional<Index> window{};  ///< W: query t sees keys j > t - W alone
  Index rope = -1;                ///< which of TransformerModelConfig::ropes; -1: not rotated
};

/// A transformer, causal or not, described by data.
struct TransformerModelConfig {
  Index vocab_size = 0;   ///< V
  Index hidden_size = 0;  ///< M
  Index num_layers = 0;   ///< L

  Index embedding_size = 0;  ///< of a token, projected to M; 0: M
  double embedding_scale = 1;
  Index max_positions = 0;    ///< rows of a table of positions; 0: none
  Index position_offset = 0;  ///< the row of the first position
  Index token_types = 0;      ///< rows of a table of token types; 0: none
  bool embedding_norm = false;
  /// A token that stands for nothing: it is no position. Absent: the mask says alone.
  std::optional<std::int32_t> padding_token{};

  bool causal = true;
  NormConfig norm{};
  NormPlacement norm_placement = NormPlacement::before;
  bool parallel = false;     ///< x + attention(norm_1(x)) + feed_forward(norm_2(x)); with `before`
  bool shared_norm = false;  ///< norm_1 is norm_2; with `parallel`
  bool residual_from_norm = false;  ///< norm(x) + f(norm(x)); with `before`, not with `parallel`
  double residual_scale = 1;        ///< of what attention and feed-forward add
  bool final_norm = true;

  SelfAttentionConfig attention{};
  FeedForwardConfig feed_forward{};
  std::vector<RopeConfig> ropes{};
  /// One for each layer; empty: all without a window, rotated by ropes[0] where there is one.
  std::vector<TransformerLayerConfig> layers{};

  bool head = true;        ///< logits; false: the last hidden state
  bool tied_head = false;  ///< the head's kernel is the table of tokens
  bool head_bias = false;
  double logit_scale = 1;
  std::optional<double> logit_softcap{};  ///< c: c tanh(logit / c), after logit_scale

  double embedding_dropout = 0;
  double residual_dropout = 0;  ///< of what attention and feed-forward add

  DtypePolicy dtype{};     ///< float32 or float64
  std::uint64_t seed = 0;  ///< of the initial weights
  std::string name = "transformer";
};

/// What one call is given.
struct TransformerInputs {
  Tensor tokens{};       ///< [B, T] i32
  Tensor mask{};         ///< [B, T] bool, which tokens are real; absent: all
  Tensor token_types{};  ///< [B, T] i32; absent: all of type 0
};

/// The model of a TransformerModelConfig: tokens [B, T] to logits [B, T, V], or without a head to
/// the last hidden state [B, T, M]. Positions count the real tokens of a row, so padding may stand
/// on either side. As a layer it takes tokens, whose mask counts, and token types.
///
/// Attention runs by the library's kernels: no T x S matrix, no repeated key/value head.
///
/// Parameters  embeddings/tokens, embeddings/positions, layers/0/attention/query/kernel, ...,
///             final_norm/gamma, head/kernel
/// Threads     calls may run concurrently, each with its own Context and KvCache
class TransformerModel final : public Layer {
 public:
  using Config = TransformerModelConfig;
  /// Built at once. Errors: ConfigError for sizes and combinations that make no model.
  explicit TransformerModel(const TransformerModelConfig& config);
  ~TransformerModel() override;
  std::string_view class_name() const override { return "TransformerModel"; }
  std::string_view module() const override { return "grouphead.models"; }
  /// Every field of TransformerModelConfig, under its name.
  ConfigValue get_config() const override;
  std::span<const std::string_view> input_names() const override;
  std::vector<Shape> output_shapes(std::span<const Shape> inputs,
                                   const CallArguments* arguments) const override;
  std::vector<Value> forward(Context& ctx, std::span<const Value> in, const Mode& mode,
                             std::unique_ptr<Saved>* saved) const override;
  void backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out, std::span<View> d_in,
                Grads& grads) const override;
  void append_parameters(const std::string& prefix, ParameterList& out) override;

  const TransformerModelConfig& config() const noexcept { return config_; }
  /// Inference. Errors: ShapeError, also for a token outside [0, V) and for more positions than
  /// the table has.
  Tensor operator()(Context& ctx, const TransformerInputs& inputs) const;
  /// What each layer's heads attend to: one tensor [B, Hq, T, T] per layer. Rows sum to 1, less
  /// what a sink takes.
  std::vector<Tensor> attention_scores(Context& ctx, const TransformerInputs& inputs) const;
  /// The same, each layer's tensor given to `visit` when it is there.
  void visit_attention_scores(Context& ctx, const TransformerInputs& inputs,
                              const std::function<void(Tensor scores)>& visit) const;

  /// What each layer's attention is given: L tensors [B, T, M].
  std::vector<Tensor> attended(Context& ctx, const TransformerInputs& inputs) const;
  /// What the attention of one layer, 0 <= layer < L, makes of x [B, T, M]; mask as in
  /// TransformerInputs.
  Tensor attend(Context& ctx, Index layer, const Tensor& x, const Tensor& mask = {}) const;

  /// A cache that fits this model; of `stored` numbers, see KvCacheConfig: absent: the model's own.
  /// Errors: ConfigError for a model that is not causal.
  KvCache make_cache(Context& ctx, Index batch, Index capacity,
                     std::optional<Dtype> stored = {}) const;
  /// Appends tokens [B, T] to the cache; writes the last position's logits [B, V], or those of each
  /// [B, T, V].
  /// After an error the cache holds what it held before.
  void step(Context& ctx, ConstView tokens, KvCache& cache, View logits) const;
  /// The same of tokens [N] of some sequences of the cache, one after the other; writes the logits
  /// [R, V] after the last token of each. A sequence gets bitwise what it gets alone.
  void step(Context& ctx, ConstView tokens, std::span<const SequenceRows> rows, KvCache& cache,
            View logits) const;

 private:
  struct Parts;
  void create_parameters(std::span<const Shape> inputs, RandomStream& random) override;

  TransformerModelConfig config_;
  std::unique_ptr<Parts> parts_;
};

}  // namespace grouphead
#pragma GCC visibility pop
