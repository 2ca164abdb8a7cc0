#pragma once

#include <vector>

#include "grouphead/layers/initializers.h"
#include "grouphead/layers/layer.h"

#pragma GCC visibility push(default)
namespace grouphead {

/// Keras's arguments, and random_gains.
struct LayerNormalizationConfig {
  std::vector<Index> axis = {-1};  ///< the axes normalised together
  double epsilon = 1e-3;
  bool center = true;         ///< whether there is a beta
  bool scale = true;          ///< whether there is a gamma
  bool rms_scaling = false;   ///< y = gamma x / deviation: the mean is not taken off, no beta
  bool random_gains = false;  ///< gamma starts at U(-sqrt 3, sqrt 3), as in Axon
  Initializer beta_initializer = initializers::zeros();
  Initializer gamma_initializer = initializers::ones();
  Regularizer beta_regularizer{};
  Regularizer gamma_regularizer{};
  Constraint beta_constraint{};
  Constraint gamma_constraint{};
  std::string name = "layer_normalization";
  DtypePolicy dtype{};
  Regularizer activity_regularizer{};
};

/// y = gamma (x - mean) / sqrt(variance + epsilon) + beta, mean and (biased) variance over `axis`.
///
/// Shapes   x, y of any rank; gamma, beta: the sizes of the axes, which build() must know
/// Types    with 16-bit policies the input is not rounded and gamma and beta keep their type
/// Mask     handed on
/// Errors   ShapeError for an axis that x has not, or twice
/// Source   keras.layers.LayerNormalization
class LayerNormalization final : public Layer {
 public:
  using Config = LayerNormalizationConfig;
  /// Errors: ConfigError for a negative epsilon or no axis.
  explicit LayerNormalization(const LayerNormalizationConfig& config);
  std::string_view class_name() const override { return "LayerNormalization"; }
  ConfigValue get_config() const override;
  std::vector<Value> forward(Context& ctx, std::span<const Value> in, const Mode& mode,
                             std::unique_ptr<Saved>* saved) const override;
  void backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out, std::span<View> d_in,
                Grads& grads) const override;
  void append_parameters(const std::string& prefix, ParameterList& out) override;

  Tensor operator()(Context& ctx, const Tensor& x, std::unique_ptr<Saved>* saved = nullptr) const;

 protected:
  void create_parameters(std::span<const Shape> inputs, RandomStream& random) override;
  Tensor received(Context& ctx, const Tensor& tensor) const override {
    return widened(ctx, tensor);
  }

 private:
  bool has_beta() const noexcept { return config_.center && !config_.rms_scaling; }
  bool has_gamma() const noexcept { return config_.scale || config_.rms_scaling; }
  ConstView gains() const { return gamma_ ? gamma_->numbers() : ones_.view(); }
  ConstView offsets() const { return beta_ ? beta_->numbers() : zeros_.view(); }
  /// Rows [R, M] of the normalised axes; keeps mean and scale [R] unless absent.
  void normalize(Context& ctx, ConstView rows, View y, View mean, View scale) const;

  LayerNormalizationConfig config_;
  Index width_ = 0;  // elements that are normalised together; 0 before build()
  std::unique_ptr<Parameter> gamma_;
  std::unique_ptr<Parameter> beta_;
  Tensor ones_;  // in place of gamma and beta that the layer has not
  Tensor zeros_;
};

/// Keras's arguments.
struct RMSNormalizationConfig {
  std::vector<Index> axis = {-1};
  double epsilon = 1e-6;
  std::string name = "rms_normalization";
  DtypePolicy dtype{};
  Regularizer activity_regularizer{};
};

/// y = scale x / sqrt(mean(x^2) + epsilon), the mean over `axis`. As in Keras, the result has no
/// mask. Shapes and errors as LayerNormalization's.
/// Source: Zhang & Sennrich 2019; keras.layers.RMSNormalization.
class RMSNormalization final : public Layer {
 public:
  using Config = RMSNormalizationConfig;
  /// Errors: ConfigError for a negative epsilon or no axis.
  explicit RMSNormalization(const RMSNormalizationConfig& config = {});
  std::string_view class_name() const override { return "RMSNormalization"; }
  ConfigValue get_config() const override;
  std::vector<Value> forward(Context& ctx, std::span<const Value> in, const Mode& mode,
                             std::unique_ptr<Saved>* saved) const override;
  void backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out, std::span<View> d_in,
                Grads& grads) const override;
  void append_parameters(const std::string& prefix, ParameterList& out) override;

 private:
  void create_parameters(std::span<const Shape> inputs, RandomStream& random) override;
  RMSNormalizationConfig config_;
  std::unique_ptr<Parameter> scale_;
};

}  // namespace grouphead
#pragma GCC visibility pop
