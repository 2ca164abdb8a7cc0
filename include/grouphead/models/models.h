#pragma once

#include <optional>

#include "grouphead/layers/group_query_attention.h"
#include "grouphead/layers/layers.h"

#pragma GCC visibility push(default)
namespace grouphead {

/// A pre-norm transformer stack of grouped-query attention blocks with causal self-attention:
/// L x { LN, GQA, + ; LN, GELU feed-forward, + }, then a last LN.
struct TransformerConfig {
  Index hidden_size = 256;        ///< M
  Index num_heads = 8;            ///< Hq, divides M
  Index num_key_value_heads = 2;  ///< Hkv, divides Hq
  Index num_layers = 4;           ///< L
  Index feed_forward = 0;         ///< F; 0: 4 M
  double dropout = 0;             ///< after attention and feed-forward, in [0, 1)
  double inter_block_dropout = 0;
  double norm_epsilon = 1e-5;
  bool final_norm = true;
  bool random_norm_gains = false;  ///< LayerNorm gains start at U(-sqrt 3, sqrt 3) instead of 1
  std::optional<RopeConfig> rope{};
  Dtype dtype = Dtype::f32;
};

class TransformerStack;  // src/models/transformer.h

/// Edifice's grouped-query attention family by its own rules.
namespace edifice {

enum class OutputMode : int { last_timestep, all, mean_pool };

/// Options of Edifice's `Attention.GQA.build`, names and defaults as there. Its option `input` (a
/// graph node in place of the default input) has no counterpart: call the model on any tensor, or
/// as a layer inside another one.
/// Source: Elixir package edifice, commit 73704a4.
struct GqaOptions {
  Index embed_dim = 0;            ///< E, required
  Index hidden_size = 256;        ///< H
  Index num_heads = 8;            ///< Nq
  Index num_key_value_heads = 2;  ///< Nk
  Index num_layers = 4;           ///< L
  /// Absent: 0.1 after attention and feed-forward. A given rate acts between the blocks too.
  std::optional<double> dropout{};
  bool rope = false;
  Index window_size = 60;          ///< declared sequence length, a shape hint only: not a window
  std::optional<Index> seq_len{};  ///< takes precedence over window_size
  bool yarn = false;               ///< wins over rope and does not need it
  double yarn_scale = 8;
  Index yarn_original_max_position = 2048;
  OutputMode output_mode = OutputMode::last_timestep;
  bool final_norm = true;

  // Beyond Edifice, off by default.
  std::optional<RopeConfig> position{};  ///< any other rotary rule; wins over rope and yarn
  bool edifice_gains = false;            ///< its initial LayerNorm gains, U(-sqrt 3, sqrt 3)
  Dtype dtype = Dtype::f32;
  std::uint64_t seed = 0;  ///< of the initial weights
  std::string name = "edifice_gqa";
};

/// The GQA sequence encoder: x [B, T, E] to [B, H] (`all`: [B, T, H]).
///
/// Threads  calls may run concurrently once it is built, each with its own Context
class Gqa final : public Layer {
 public:
  using Config = GqaOptions;
  explicit Gqa(const GqaOptions& options);
  ~Gqa() override;
  std::string_view class_name() const override { return "EdificeGqa"; }
  std::string_view module() const override { return "grouphead.models"; }
  /// Every field of GqaOptions, under its name.
  ConfigValue get_config() const override;
  std::vector<Shape> output_shapes(std::span<const Shape> inputs,
                                   const CallArguments* arguments) const override;
  std::vector<Value> forward(Context& ctx, std::span<const Value> in, const Mode& mode,
                             std::unique_ptr<Saved>* saved) const override;
  void backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out, std::span<View> d_in,
                Grads& grads) const override;
  void append_parameters(const std::string& prefix, ParameterList& out) override;

  const GqaOptions& options() const noexcept { return options_; }
  /// A cache that fits this model; of `stored` numbers, see KvCacheConfig: absent: the model's own.
  KvCache make_cache(Context& ctx, Index batch, Index capacity,
                     std::optional<Dtype> stored = {}) const;
  /// Every time step of x [B, T, E], the continuation of what the cache holds: [B, T, H].
  Tensor step(Context& ctx, const Tensor& x, KvCache& cache) const;
  /// What each layer's heads attend to: one tensor [B, Nq, T, T] per layer; rows sum to 1.
  std::vector<Tensor> attention_scores(Context& ctx, const Tensor& x) const;
  /// The parameter that Edifice calls `name` (`gqa_block_1_attn_q_proj.kernel`); null if none. Its
  /// kernels [in, heads * head size] have our kernels' elements in the same order.
  Parameter* find(std::string_view name);

 private:
  void create_parameters(std::span<const Shape> inputs, RandomStream& random) override;
  void build_for_call(std::span<const Shape> inputs) override;
  Tensor typed_call(Context& ctx, const LayerInput& x,
                    std::unique_ptr<Saved>* saved) const override;
  Tensor run(Context& ctx, const Tensor& x, const Mode& mode, std::unique_ptr<Saved>* saved) const;

  GqaOptions options_;
  std::unique_ptr<Dense> input_projection_;  // null when E == H
  std::unique_ptr<TransformerStack> stack_;
};

/// A built model. Errors: ConfigError, where Edifice would fail later or misbehave: sizes below 1,
/// hidden_size not a multiple of num_heads, num_heads not one of num_key_value_heads, odd head size
/// with a rotary rule, dropout outside [0, 1), yarn_scale or yarn_original_max_position below 1.
std::unique_ptr<Gqa> build(const GqaOptions& options);

/// The causal attention sub-layer alone (no norm, dropout, residual), built: x [B, T, E] to
/// [B, T, H]; embed_dim 0 stands for hidden_size. `name` is the layer's name: Edifice's
/// `<name>_q_proj.kernel` is edifice_name() of `<name>/query/kernel`.
std::unique_ptr<GroupQueryAttention> build_gqa_attention(const GqaOptions& options,
                                                         const std::string& name = "gqa_attn");

/// What Edifice calls the parameter at `path`: `gqa_block_1/attn/query/kernel` is
/// `gqa_block_1_attn_q_proj.kernel`.
std::string edifice_name(std::string_view path);

/// hidden_size, whatever the output mode.
Index output_size(const GqaOptions& options) noexcept;
/// Edifice's approximation: kernels only. As there, embed_dim 0 stands for 287 in both counts.
/// Errors: ConfigError, as build().
Index param_count(const GqaOptions& options);
/// All trainable elements.
Index param_count_exact(const GqaOptions& options);
/// Edifice's table; it gives dropout = 0.1, so dropout acts between the blocks too.
GqaOptions recommended_defaults();

}  // namespace edifice

struct LanguageModelConfig {
  Index vocab_size = 256;
  TransformerConfig transformer{.rope = RopeConfig{}};
  std::uint64_t seed = 0;  ///< of the initial weights
  std::string name = "language_model";
};

/// Token embedding, TransformerStack, projection to the vocabulary: tokens [B, T] (i32) to logits
/// [B, T, V] at every position. generation.h continues prompts with it, model_folder.h saves it.
///
/// Threads  calls may run concurrently, each with its own Context and KvCache
class LanguageModel final : public Layer {
 public:
  using Config = LanguageModelConfig;
  /// Built at once. Errors: ConfigError.
  explicit LanguageModel(const LanguageModelConfig& config);
  ~LanguageModel() override;
  std::string_view class_name() const override { return "LanguageModel"; }
  std::string_view module() const override { return "grouphead.models"; }
  /// Every field of LanguageModelConfig and its TransformerConfig, under its name.
  ConfigValue get_config() const override;
  std::vector<Shape> output_shapes(std::span<const Shape> inputs,
                                   const CallArguments* arguments) const override;
  std::vector<Value> forward(Context& ctx, std::span<const Value> in, const Mode& mode,
                             std::unique_ptr<Saved>* saved) const override;
  void backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out, std::span<View> d_in,
                Grads& grads) const override;
  void append_parameters(const std::string& prefix, ParameterList& out) override;

  const LanguageModelConfig& config() const noexcept { return config_; }
  /// Inference: logits [B, T, V] of tokens [B, T] (i32).
  /// Errors: ShapeError, also for a token outside [0, V).
  Tensor operator()(Context& ctx, ConstView tokens) const;
  /// A cache that fits this model; of `stored` numbers, see KvCacheConfig: absent: the model's own.
  KvCache make_cache(Context& ctx, Index batch, Index capacity,
                     std::optional<Dtype> stored = {}) const;
  /// What each layer's heads attend to: one tensor [B, Hq, T, T] per layer; rows sum to 1.
  std::vector<Tensor> attention_scores(Context& ctx, const Tensor& tokens) const;
  /// What each block's attention is given: [B, T, M].
  std::vector<Tensor> attended(Context& ctx, const Tensor& tokens) const;
  /// The attention layer of a block, 0 <= block < L.
  const GroupQueryAttention& attention(Index block) const;
  /// Appends tokens [B, T] to the cache; writes the last position's logits [B, V], or those of each
  /// [B, T, V].
  /// No allocation of ours once warm. After an error the cache holds what it held before.
  void step(Context& ctx, ConstView tokens, KvCache& cache, View logits) const;
  /// The same of tokens [N] of some sequences of the cache, one after the other; writes the logits
  /// [R, V] after the last token of each. A sequence gets bitwise what it gets alone.
  void step(Context& ctx, ConstView tokens, std::span<const SequenceRows> rows, KvCache& cache,
            View logits) const;

 private:
  void create_parameters(std::span<const Shape> inputs, RandomStream& random) override;
  LanguageModelConfig config_;
  std::unique_ptr<Embedding> embedding_;
  std::unique_ptr<TransformerStack> stack_;
  std::unique_ptr<Dense> head_;
};

}  // namespace grouphead
#pragma GCC visibility pop
