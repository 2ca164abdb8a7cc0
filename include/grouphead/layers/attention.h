#pragma once

#include <optional>

#include "grouphead/layers/layer.h"

#pragma GCC visibility push(default)
namespace grouphead {

struct AttentionOptions;
namespace ops {
struct ScoredGradients;
}

/// Arguments of Attention and AdditiveAttention that are not tensors.
struct ScoredAttentionArguments : CallArguments {
  bool use_causal_mask = false;          ///< key j is visible to query i iff j <= i
  bool return_attention_scores = false;  ///< the second output
};

namespace detail {

/// What Attention and AdditiveAttention share: attention of one head without projections.
///
/// Operands  query [..., T, D], value [..., S, Dv], key [..., S, D] (absent: the value),
///           query_mask [..., T] and value_mask [..., S], bool or integers: which positions are
///           real. Without either the inputs' own masks count. [B, T] and [B, S] also serve inputs
///           of more leading axes
/// Outputs   [..., T, Dv], zero where the query is not real, with the query's mask; with
///           return_attention_scores also [..., T, S], the factors of the values: after dropout
/// Masked    a query that sees no key takes all keys alike, or nearly: Keras lowers the logits by
///           1e9, where the numbers of f32 are 64 apart
/// Errors    ConfigError for unknown call keywords; ShapeError
/// Memory    no T x S buffer unless scores are returned
/// Speed     products of queries and keys take attention's fast kernels, unless scores are
///           returned; the other rules take plain loops
class ScoredAttention : public Layer {
 public:
  ~ScoredAttention() override;
  std::span<const std::string_view> input_names() const override;
  std::unique_ptr<CallArguments> arguments_from_config(const ConfigValue& keywords) const override;
  ConfigValue arguments_config(const CallArguments* arguments) const override;
  std::vector<Shape> output_shapes(std::span<const Shape> inputs,
                                   const CallArguments* arguments) const override;
  std::vector<Value> forward(Context& ctx, std::span<const Value> in, const Mode& mode,
                             std::unique_ptr<Saved>* saved) const override;
  void backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out, std::span<View> d_in,
                Grads& grads) const override;
  void append_parameters(const std::string& prefix, ParameterList& out) override;

 protected:
  struct Options {
    double dropout;
    std::optional<std::uint64_t> seed;
  };
  /// Errors: ConfigError for a dropout outside [0, 1] or a seed outside 32 bits.
  ScoredAttention(std::string name, const DtypePolicy& policy, Regularizer activity_regularizer,
                  const Options& options);

  /// What build() does before it makes parameters. Returns D, -1 if unknown.
  Index start_build(std::span<const Shape> inputs, RandomStream& random);
  /// A parameter of one number, 1.
  std::unique_ptr<Parameter> one(std::string name) const;

  // Made by build(), each null where the layer has none.
  std::unique_ptr<Parameter> scale_;    ///< [], of queries, and of keys too unless is_dot()
  std::unique_ptr<Parameter> weights_;  ///< [] or [D], of the tangents

 private:
  struct Call;
  struct SavedState;
  /// Logits are products of queries and keys, else sums of tangents.
  virtual bool is_dot() const = 0;
  virtual bool has_parameters() const = 0;

  Call checked(Context& ctx, std::span<const Value> in, const CallArguments* arguments) const;
  std::optional<RandomDraw> draw(const Mode& mode) const;
  Tensor scaled(Context& ctx, const Tensor& x) const;
  Tensor tangent_weights(Context& ctx, Index width) const;
  static bool is_fused(const SavedState& kept);
  static AttentionOptions kernel_options(const SavedState& kept);
  void attend(Context& ctx, SavedState& kept) const;
  static void attend_backward(Context& ctx, const SavedState& kept,
                              const ops::ScoredGradients& gradients);

  Options options_;
  std::unique_ptr<SeedGenerator> seeds_;  // null without dropout
};

}  // namespace detail

/// How Attention makes a logit of a query and a key.
enum class ScoreMode : std::uint8_t {
  dot,    ///< sum_d q_d k_d
  concat  ///< sum_d tanh(q_d + k_d)
};

/// Keras's arguments.
struct AttentionConfig {
  bool use_scale = false;
  ScoreMode score_mode = ScoreMode::dot;
  double dropout = 0;  ///< in [0, 1]
  std::optional<std::uint64_t> seed{};
  std::string name = "attention";
  DtypePolicy dtype{};
  Regularizer activity_regularizer{};
};

/// Dot-product attention (Luong et al. 2015): logits scale q k, without 1 / sqrt(D), or by concat
/// concat_score_weight sum_d tanh(scale (q_d + k_d)). Source: keras.layers.Attention.
class Attention final : public detail::ScoredAttention {
 public:
  using Config = AttentionConfig;
  /// Errors: ConfigError for a dropout or seed out of range.
  explicit Attention(const AttentionConfig& config);
  std::string_view class_name() const override { return "Attention"; }
  ConfigValue get_config() const override;

 private:
  void create_parameters(std::span<const Shape> inputs, RandomStream& random) override;
  bool is_dot() const override { return config_.score_mode == ScoreMode::dot; }
  bool has_parameters() const override { return config_.use_scale || !is_dot(); }

  AttentionConfig config_;
};

/// Keras's arguments.
struct AdditiveAttentionConfig {
  bool use_scale = true;
  double dropout = 0;  ///< in [0, 1]
  std::optional<std::uint64_t> seed{};
  std::string name = "additive_attention";
  DtypePolicy dtype{};
  Regularizer activity_regularizer{};
};

/// Additive attention (Bahdanau et al. 2015): logits sum_d scale_d tanh(q_d + k_d).
/// Source: keras.layers.AdditiveAttention.
class AdditiveAttention final : public detail::ScoredAttention {
 public:
  using Config = AdditiveAttentionConfig;
  /// Errors: ConfigError for a dropout or seed out of range.
  explicit AdditiveAttention(const AdditiveAttentionConfig& config);
  std::string_view class_name() const override { return "AdditiveAttention"; }
  ConfigValue get_config() const override;

 private:
  void create_parameters(std::span<const Shape> inputs, RandomStream& random) override;
  bool is_dot() const override { return false; }
  bool has_parameters() const override { return config_.use_scale; }

  AdditiveAttentionConfig config_;
};

}  // namespace grouphead
#pragma GCC visibility pop
