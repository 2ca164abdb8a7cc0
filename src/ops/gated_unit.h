#pragma once

// Gated linear units that no activation describes. Tensors are contiguous unless said.

#include "grouphead/core/context.h"

namespace grouphead::ops {

/// The constants of a clamped SwiGLU.
struct ClampedSwiGlu {
  double alpha = 1.702;
  double limit = 7;
};

/// y = g sigmoid(alpha g) (u + 1) with g = min(gate, limit) and u = up cut to [-limit, limit].
/// All of one shape and type, f32 or f64; y may be gate or up.
void clamped_swiglu_forward(Context& ctx, const ClampedSwiGlu& unit, ConstView gate, ConstView up,
                            View y);
/// d_gate and d_up of it, zero where the operand was cut; d_up may be d_y.
void clamped_swiglu_backward(Context& ctx, const ClampedSwiGlu& unit, ConstView gate, ConstView up,
                             ConstView d_y, View d_gate, View d_up);

}  // namespace grouphead::ops
