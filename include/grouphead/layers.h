#pragma once

#include <optional>

#include "grouphead/kv_cache.h"
#include "grouphead/layer.h"
#include "grouphead/rope.h"

namespace grouphead {

enum class Activation : std::uint8_t { linear, gelu };  ///< gelu: exact, by erf

struct DenseConfig {
  Index units = 0;  ///< N >= 1
  Activation activation = Activation::linear;
  bool use_bias = true;
  std::string name = "dense";
  Dtype dtype = Dtype::f32;
};

/// y = activation(x kernel + bias). Shapes: x [..., M], kernel [M, N], bias [N], y [..., N].
/// Source: keras.layers.Dense.
class Dense final : public Layer {
 public:
  explicit Dense(const DenseConfig& config);
  void build(std::span<const Shape> inputs, RandomStream& random) override;
  std::vector<Value> forward(Context& ctx, std::span<const Value> in, const Mode& mode,
                             std::unique_ptr<Saved>* saved) const override;
  void backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out, std::span<View> d_in,
                Grads& grads) const override;
  void append_parameters(const std::string& prefix, ParameterList& out) const override;

  /// Inference into a given output: no allocation once warm.
  void apply(Context& ctx, ConstView x, View y) const;

 private:
  DenseConfig config_;
  std::unique_ptr<Parameter> kernel_;
  std::unique_ptr<Parameter> bias_;  // null without use_bias
};

struct LayerNormalizationConfig {
  double epsilon = 1e-3;
  std::string name = "layer_normalization";
  Dtype dtype = Dtype::f32;
};

/// y = gamma (x - mean) / sqrt(variance + epsilon) + beta over the last axis, biased variance.
/// Source: keras.layers.LayerNormalization (axis -1).
class LayerNormalization final : public Layer {
 public:
  explicit LayerNormalization(const LayerNormalizationConfig& config);
  void build(std::span<const Shape> inputs, RandomStream& random) override;
  std::vector<Value> forward(Context& ctx, std::span<const Value> in, const Mode& mode,
                             std::unique_ptr<Saved>* saved) const override;
  void backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out, std::span<View> d_in,
                Grads& grads) const override;
  void append_parameters(const std::string& prefix, ParameterList& out) const override;

  void apply(Context& ctx, ConstView x, View y) const;

 private:
  LayerNormalizationConfig config_;
  std::unique_ptr<Parameter> gamma_;
  std::unique_ptr<Parameter> beta_;
};

struct EmbeddingConfig {
  Index input_dim = 0;   ///< V
  Index output_dim = 0;  ///< M
  std::string name = "embedding";
  Dtype dtype = Dtype::f32;
};

/// Row lookup: tokens [B, T] (i32) to [B, T, M]. Errors: ShapeError for a token outside [0, V).
/// Source: keras.layers.Embedding.
class Embedding final : public Layer {
 public:
  explicit Embedding(const EmbeddingConfig& config);
  void build(std::span<const Shape> inputs, RandomStream& random) override;
  std::vector<Value> forward(Context& ctx, std::span<const Value> in, const Mode& mode,
                             std::unique_ptr<Saved>* saved) const override;
  void backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out, std::span<View> d_in,
                Grads& grads) const override;
  void append_parameters(const std::string& prefix, ParameterList& out) const override;

  void apply(Context& ctx, ConstView tokens, View y) const;

 private:
  EmbeddingConfig config_;
  std::unique_ptr<Parameter> embeddings_;
};

struct DropoutConfig {
  double rate = 0;  ///< in [0, 1)
  std::string name = "dropout";
  Dtype dtype = Dtype::f32;
};

/// Inverted dropout in training, identity otherwise. Numbers are Philox4x32-10 of (seed, draw,
/// element), so threads do not change them. Source: keras.layers.Dropout.
class Dropout final : public Layer {
 public:
  explicit Dropout(const DropoutConfig& config);
  void build(std::span<const Shape> inputs, RandomStream& random) override;
  std::vector<Value> forward(Context& ctx, std::span<const Value> in, const Mode& mode,
                             std::unique_ptr<Saved>* saved) const override;
  void backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out, std::span<View> d_in,
                Grads& grads) const override;
  void append_parameters(const std::string& prefix, ParameterList& out) const override;

 private:
  DropoutConfig config_;
};

/// Names and defaults are Keras's; `rope` is ours and off by default.
struct GroupQueryAttentionConfig {
  Index head_dim = 0;             ///< D >= 1; even with rope
  Index num_query_heads = 0;      ///< Hq >= 1
  Index num_key_value_heads = 0;  ///< Hkv >= 1, divides Hq
  bool use_bias = true;
  std::optional<RopeConfig> rope{};
  std::string name = "grouped_query_attention";
  Dtype dtype = Dtype::f32;
};

/// GroupQueryAttention's arguments that are not tensors.
struct AttentionArguments : CallArguments {
  bool use_causal_mask = false;
  Index causal_offset = 0;  ///< key j is visible to query i iff j <= i + causal_offset; 0 is Keras
};

/// One call's inputs by name; Keras's positional order is (query, value, key).
struct AttentionInputs {
  Tensor query{};               ///< [B, T, M]
  Tensor value{};               ///< [B, S, Mv]
  std::optional<Tensor> key{};  ///< [B, S, Mk]; absent: value serves as key
  bool use_causal_mask = false;
  Index causal_offset = 0;
};

/// y = concat_h(softmax(mask(q_h k_{h/G}^T / sqrt(D))) v_{h/G}) W_o + b_o.
///
/// Shapes   inputs (query [B, T, M], value [B, S, Mv], optional key [B, S, Mk]); y [B, T, M]
/// Errors   ConfigError, ShapeError: operand, expected, received
/// Memory   O(T + S): no T x S buffer, forward or backward
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

  /// Inference by name.
  Tensor operator()(Context& ctx, const AttentionInputs& in) const;

  /// Causal self-attention of x [B, T, M] at positions cache.length() .. + T - 1: stores their keys
  /// and values in layer `layer` of the cache and attends to all stored positions. The caller
  /// advances the cache once all layers have run. No allocation once warm.
  void apply_cached(Context& ctx, ConstView x, KvCache& cache, Index layer, View y) const;

 private:
  struct Weights;
  GroupQueryAttentionConfig config_;
  std::unique_ptr<Weights> weights_;
};

}  // namespace grouphead
