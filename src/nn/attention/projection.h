#pragma once

#include <memory>
#include <string>

#include "grouphead/layers/initializers.h"
#include "grouphead/layers/layer.h"
#include "nn/float8.h"
#include "nn/low_rank.h"
#include "ops/linear.h"

namespace grouphead::nn {

/// What Keras's dense layers let the user choose about kernel and bias.
struct ProjectionOptions {
  bool use_bias = true;
  bool trainable = true;
  Initializer kernel_initializer{};  ///< none: Glorot-uniform
  Initializer bias_initializer{};    ///< none: zeros
  Regularizer kernel_regularizer{};
  Regularizer bias_regularizer{};
  Constraint kernel_constraint{};
  Constraint bias_constraint{};
  std::optional<Quantization> quantization{};  ///< float8 rounds the product's operands
};

/// The kernel as a product reads it: source() where it is a matrix of this shape, else numbers().
ConstView matrix_of(const Parameter& kernel, const Shape& shape);

/// y = x kernel + bias, the part that Dense and the four projections of attention share: a kernel
/// whose leading axes are contracted, K elements in all, and whose other axes, N elements, stand in
/// y; the bias has the latter. The kernel's initializer gets the fans K and N, as Keras reads them
/// off the einsum.
class Projection {
 public:
  Projection(const Shape& kernel, int contracted_axes, const ProjectionOptions& options,
             const DtypePolicy& policy, RandomStream& random);

  Index num_inputs() const noexcept { return num_inputs_; }    ///< K
  Index num_outputs() const noexcept { return num_outputs_; }  ///< N

  /// Shapes  x: rows * K elements, y: rows * N elements, any axes, contiguous
  void forward(Context& ctx, ConstView x, ops::Epilogue epilogue, View y) const;
  /// Adds to the parameters' gradients; adds to d_x or replaces it, unless it is absent.
  void backward(Context& ctx, ConstView x, ConstView d_y, ops::Write write, View d_x,
                Grads& grads) const;

  Parameter& kernel() noexcept { return *kernel_; }
  std::unique_ptr<nn::LowRank>& lora() noexcept { return lora_; }
  /// What quantize() changes: the kernel's numbers in 8 or 4 bits, whose scales Keras's EinsumDense
  /// has behind so many axes of size 1, or float8 from here on.
  void plan_quantization(const Quantization& how, const DtypePolicy& policy, int num_free_axes,
                         QuantizationPlan& plan);
  /// `<prefix>kernel` and `<prefix>bias`, then those of lora().
  void append_parameters(const std::string& prefix, ParameterList& out);

 private:
  void forward_float8(Context& ctx, ConstView x, ops::Epilogue epilogue, View y) const;
  void backward_float8(Context& ctx, ConstView x, ConstView d_y, ops::Write write, View d_x,
                       Grads& grads) const;
  void forward_quantized(Context& ctx, ConstView x, ConstView bias, ops::Epilogue epilogue,
                         View y) const;

  int contracted_axes_ = 1;
  Index num_inputs_ = 1;
  Index num_outputs_ = 1;
  std::unique_ptr<Parameter> kernel_;
  Dtype grid_;                       // of x, kernel and bias: products are of bf16 where that is it
  std::unique_ptr<Parameter> bias_;  // null without use_bias
  std::unique_ptr<Float8> float8_;   // null without
  std::unique_ptr<nn::LowRank> lora_;  // null where the kernel is used as it is
};

}  // namespace grouphead::nn
