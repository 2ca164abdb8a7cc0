#pragma once

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

}  // namespace grouphead
