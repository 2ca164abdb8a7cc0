#pragma once

// Activations and softmax. f32 through the kernels of the Context's level, f64 through the
// references. Tensors are contiguous unless said.

#include "grouphead/core/context.h"
#include "grouphead/layers/activation.h"

namespace grouphead::ops {

/// y = x (1 + erf(x / sqrt 2)) / 2
void gelu_forward(Context& ctx, ConstView x, View y);
/// d_x = d_y (Phi(x) + x phi(x)); d_x may be d_y.
void gelu_backward(Context& ctx, ConstView x, ConstView d_y, View d_x);

/// y = activation(x), softmax over the last axis; y may be x.
void activation_forward(Context& ctx, const Activation& activation, ConstView x, View y);
/// d_x from the activation's argument x; d_x may be d_y. Memory: for a function of rows its result
/// again.
void activation_backward(Context& ctx, const Activation& activation, ConstView x, ConstView d_y,
                         View d_x);

/// y = exp(x - max) / sum over the last axis; y may be x.
void softmax_forward(Context& ctx, ConstView x, View y);
/// d_x = y (d_y - sum(y d_y)) over the last axis, from the result y; d_x may be d_y.
void softmax_backward(Context& ctx, ConstView y, ConstView d_y, View d_x);

/// y = x from 0 on, alpha x below; alpha broadcasts to x's shape. y may be x.
void prelu_forward(Context& ctx, ConstView x, ConstView alpha, View y);
/// d_x += d_y times the slope, 0 at 0; d_alpha += the sums of d_y x below zero. Either may be
/// absent.
void prelu_backward(Context& ctx, ConstView x, ConstView alpha, ConstView d_y, View d_x,
                    View d_alpha);

}  // namespace grouphead::ops
