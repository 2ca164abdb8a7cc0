#pragma once

// Activations made of the sigmoid, and what gates of recurrent cells apply, on runs of f32. Their
// plain versions are in ops/activation_functions.h.

#include "kernels/cpu/level.h"
#include "kernels/rowwise/rowwise.h"

namespace grouphead::kernels {

/// NaN stays NaN.
struct SaturatingKernels {
  /// y = f(x); y may be x.
  using Function = void(const float* x, Index count, float* y) noexcept;
  /// d_x = d_y f'(x); d_x may be d_y.
  using Gradient = void(const float* x, const float* d_y, Index count, float* d_x) noexcept;

  Function* sigmoid;
  Function* tanh;
  Function* silu;
  Function* gelu_tanh;
  Gradient* sigmoid_gradient;
  Gradient* tanh_gradient;
  Gradient* silu_gradient;
  Gradient* gelu_tanh_gradient;
};

/// At Level::ref sigmoid and tanh alone; the others are null.
const SaturatingKernels& saturating_kernels(Level level) noexcept;

}  // namespace grouphead::kernels
