#pragma once

#include <optional>

#include "grouphead/dense.h"
#include "grouphead/layer.h"

namespace grouphead {

struct LayerNormalizationConfig {
  double epsilon = 1e-3;
  bool random_gains = false;  ///< gamma starts at U(-sqrt 3, sqrt 3), as in Axon, instead of 1
  std::string name = "layer_normalization";
  DtypePolicy dtype{};
};

/// y = gamma (x - mean) / sqrt(variance + epsilon) + beta over the last axis, biased variance.
/// Source: keras.layers.LayerNormalization (axis -1).
class LayerNormalization final : public Layer {
 public:
  /// Errors: ConfigError for a negative epsilon.
  explicit LayerNormalization(const LayerNormalizationConfig& config);
  void build(std::span<const Shape> inputs, RandomStream& random) override;
  std::vector<Value> forward(Context& ctx, std::span<const Value> in, const Mode& mode,
                             std::unique_ptr<Saved>* saved) const override;
  void backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out, std::span<View> d_in,
                Grads& grads) const override;
  void append_parameters(const std::string& prefix, ParameterList& out) const override;

  Tensor operator()(Context& ctx, const Tensor& x, std::unique_ptr<Saved>* saved = nullptr) const;

 private:
  LayerNormalizationConfig config_;
  std::unique_ptr<Parameter> gamma_;
  std::unique_ptr<Parameter> beta_;
};

struct EmbeddingConfig {
  Index input_dim = 0;   ///< V
  Index output_dim = 0;  ///< M
  std::string name = "embedding";
  DtypePolicy dtype{};
};

/// Row lookup: tokens [...] (i32) to [..., M]. Errors: ShapeError for a token outside [0, V).
/// Tokens have no gradient: what is passed for it in backward() stays as it is.
/// Source: keras.layers.Embedding.
class Embedding final : public Layer {
 public:
  /// Errors: ConfigError for sizes below 1.
  explicit Embedding(const EmbeddingConfig& config);
  void build(std::span<const Shape> inputs, RandomStream& random) override;
  std::vector<Value> forward(Context& ctx, std::span<const Value> in, const Mode& mode,
                             std::unique_ptr<Saved>* saved) const override;
  void backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out, std::span<View> d_in,
                Grads& grads) const override;
  void append_parameters(const std::string& prefix, ParameterList& out) const override;

  /// Inference, also of tokens that are no Tensor.
  Tensor operator()(Context& ctx, ConstView tokens) const;

 private:
  EmbeddingConfig config_;
  std::unique_ptr<Parameter> embeddings_;
};

struct DropoutConfig {
  double rate = 0;  ///< in [0, 1)
  std::string name = "dropout";
  DtypePolicy dtype{};
};

/// Inverted dropout in training, identity otherwise. Numbers are Philox4x32-10 of (seed, draw,
/// element), so threads do not change them. Errors: ConfigError in training without Mode::random.
/// Source: keras.layers.Dropout.
class Dropout final : public Layer {
 public:
  /// Errors: ConfigError for a rate outside [0, 1).
  explicit Dropout(const DropoutConfig& config);
  void build(std::span<const Shape> inputs, RandomStream& random) override;
  std::vector<Value> forward(Context& ctx, std::span<const Value> in, const Mode& mode,
                             std::unique_ptr<Saved>* saved) const override;
  void backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out, std::span<View> d_in,
                Grads& grads) const override;
  void append_parameters(const std::string& prefix, ParameterList& out) const override;

  const DropoutConfig& config() const noexcept { return config_; }
  /// The next draw where dropout acts (training, rate > 0), absent where it is the identity.
  std::optional<RandomKey> draw(const Mode& mode) const;

 private:
  DropoutConfig config_;
};

}  // namespace grouphead
