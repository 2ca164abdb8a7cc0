#pragma once

#include "grouphead/layers/activation.h"
#include "grouphead/layers/initializers.h"
#include "grouphead/layers/layer.h"
#include "grouphead/layers/lora.h"
#include "grouphead/layers/quantization.h"

#pragma GCC visibility push(default)
namespace grouphead {

namespace nn {
class Projection;
}

/// Keras's arguments; no initializer means Keras's default.
struct DenseConfig {
  Index units = 0;  ///< N >= 1
  Activation activation = Activation::linear;
  bool use_bias = true;
  Initializer kernel_initializer = initializers::glorot_uniform();
  Initializer bias_initializer = initializers::zeros();
  Regularizer kernel_regularizer{};
  Regularizer bias_regularizer{};
  Regularizer activity_regularizer{};
  Constraint kernel_constraint{};
  Constraint bias_constraint{};
  std::optional<LoraOptions>
      lora{};  ///< Keras's lora_rank and lora_alpha: enable_lora() by build()
  std::optional<Quantization> quantization{};
  std::string name = "dense";
  DtypePolicy dtype{};
};

/// y = activation(x kernel + bias). Shapes: x [..., M], kernel [M, N], bias [N], y [..., N].
/// Hands the mask on. Source: keras.layers.Dense.
///
/// `layer(ctx, x)` without `saved` allocates nothing once the Context is warm, and reads a view in
/// place where its rows are equally spaced and contiguous each, as in a slice of the last axis;
/// else it takes one copy.
class Dense final : public Layer, public HasLora, public HasQuantization {
 public:
  using Config = DenseConfig;
  /// Errors: ConfigError for units below 1.
  explicit Dense(const DenseConfig& config);
  ~Dense() override;
  std::string_view class_name() const override { return "Dense"; }
  ConfigValue get_config() const override;
  std::vector<Shape> output_shapes(std::span<const Shape> inputs,
                                   const CallArguments* arguments) const override;
  std::vector<Value> forward(Context& ctx, std::span<const Value> in, const Mode& mode,
                             std::unique_ptr<Saved>* saved) const override;
  void backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out, std::span<View> d_in,
                Grads& grads) const override;
  void append_parameters(const std::string& prefix, ParameterList& out) override;
  void enable_lora(const LoraOptions& config, std::uint64_t seed = 0) override;
  void merge_lora() override;
  nn::LowRank* low_rank() const noexcept override;
  const Quantization* quantization() const noexcept override;
  bool takes_quantization(QuantizationMode mode) const override;
  void plan_quantization(const Quantization& how, nn::QuantizationPlan& plan) override;

  const DenseConfig& config() const noexcept { return config_; }
  /// Inference into a given output. x: rows as above.
  void apply(Context& ctx, ConstView x, View y) const;
  /// backward() that replaces d_x [..., M] instead of adding to it: saves zeroing and reading it.
  void backward_to(Context& ctx, Saved& saved, ConstView d_y, View d_x, Grads& grads) const;

 private:
  void create_parameters(std::span<const Shape> inputs, RandomStream& random) override;
  Tensor typed_call(Context& ctx, const LayerInput& x,
                    std::unique_ptr<Saved>* saved) const override;
  /// The gradient of what the activation is applied to; nothing without an activation.
  Tensor before_activation(Context& ctx, const Tensor& pre_activation, ConstView d_y) const;
  /// Rounds what the activation is applied to as Keras stores it.
  void round_product(View product) const;

  DenseConfig config_;
  std::unique_ptr<nn::Projection> projection_;  // null before build()
};

}  // namespace grouphead
#pragma GCC visibility pop
