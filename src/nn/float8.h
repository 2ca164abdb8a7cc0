#pragma once

// Keras's float8: operands of a product are rounded to 8-bit floating point.

#include <array>
#include <memory>

#include "grouphead/layers/quantization.h"

namespace grouphead::nn {

/// The scales of a layer's inputs, its kernel and its outputs' gradients, with their histories:
/// Keras's variables behind kernel and bias. What a step makes of them is the sum over the calls of
/// the layer, as in Keras.
/// Source: keras.layers.Dense, `_float8_build` and `_float8_call`.
class Float8 {
 public:
  /// Of a layer that has this quantization; null where it is another or none.
  static std::unique_ptr<Float8> of(const std::optional<Quantization>& how,
                                    const DtypePolicy& policy, bool trainable);
  Float8(Index history_length, const DtypePolicy& policy, bool trainable);

  /// x, contiguous, and the kernel rounded to e4m3.
  Tensor rounded_inputs(Context& ctx, ConstView x) const;
  std::unique_ptr<Parameter> rounded_kernel(Context& ctx, const Parameter& kernel) const;
  /// The gradient of the product, rounded to e5m2.
  Tensor rounded_gradient(Context& ctx, ConstView d_y) const;
  /// Adds the next scales and histories to those of `grads`. `d_y` is not rounded yet.
  void add_next(ConstView x, const Parameter& kernel, ConstView d_y, Grads& grads) const;
  /// A bias as Keras adds it: one of f32 is rounded to bf16. Absent: absent.
  Tensor rounded_bias(Context& ctx, const Parameter* bias) const;
  /// Adds the gradient of a call's bias to the bias's: where the bias is rounded, so is it. It is
  /// contiguous, of the same size, and changed.
  void add_bias_gradient(Context& ctx, View of_call, View d_bias) const;

  void append_parameters(const std::string& prefix, ParameterList& out) const;

 private:
  // Scale and history of inputs, kernel, gradients.
  std::array<std::unique_ptr<Parameter>, 6> variables_;
  bool rounds_bias_;
};

}  // namespace grouphead::nn
