#pragma once

#include "grouphead/layers/activation.h"
#include "grouphead/layers/initializers.h"
#include "grouphead/layers/layer.h"
#include "grouphead/layers/lora.h"
#include "grouphead/layers/quantization.h"

#pragma GCC visibility push(default)
namespace grouphead {

namespace nn {
class Einsum;
class Float8;
struct EinsumEquation;
struct EinsumShapes;
}  // namespace nn

/// Keras's arguments.
struct EinsumDenseConfig {
  /// `abc,cd->abd`, `...x,xy->...y` or `ab...,bc->ac...`: input, kernel -> output.
  std::string equation{};
  /// The output's axes without the batch and those of an ellipsis; -1: as in the input.
  std::vector<Index> output_shape{};
  Activation activation = Activation::linear;
  std::string bias_axes{};  ///< letters of the output; none: no bias
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
  std::string name = "einsum_dense";
  DtypePolicy dtype{};
};

/// y = activation(einsum(x, kernel) + bias). A kernel's fans are the axes that are summed over and
/// those that the output has. Its result has no mask. Equations that are a product of the input's
/// last axes with the kernel's first are computed in place, others around reordered copies.
/// Source: keras.layers.EinsumDense.
class EinsumDense final : public Layer, public HasLora, public HasQuantization {
 public:
  using Config = EinsumDenseConfig;
  /// Errors: ConfigError for equations of other forms, or with a letter twice in an operand.
  explicit EinsumDense(const EinsumDenseConfig& config);
  ~EinsumDense() override;
  std::string_view class_name() const override { return "EinsumDense"; }
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

 private:
  void create_parameters(std::span<const Shape> inputs, RandomStream& random) override;
  nn::EinsumShapes shapes_of(const Shape& input) const;
  /// What a call computes with in the kernel's place; null: the kernel itself.
  std::unique_ptr<Parameter> changed_kernel(Context& ctx) const;

  EinsumDenseConfig config_;
  std::unique_ptr<nn::EinsumEquation> equation_;
  // Null before build(); no bias without bias axes.
  std::unique_ptr<nn::Einsum> einsum_;
  std::unique_ptr<Parameter> kernel_;
  std::unique_ptr<Parameter> bias_;
  std::unique_ptr<nn::Float8> float8_;  // null but with that quantization
  std::unique_ptr<nn::LowRank> lora_;   // null where the kernel is used as it is
  int input_rank_ = 0;
};

}  // namespace grouphead
#pragma GCC visibility pop
