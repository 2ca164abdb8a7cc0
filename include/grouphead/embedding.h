#pragma once

#include "grouphead/layer.h"

namespace grouphead {

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

}  // namespace grouphead
