#pragma once

// The choice of experts for each row. Tensors are contiguous unless said.

#include "grouphead/core/context.h"

namespace grouphead::ops {

/// The k greatest logits of each row, greatest first, the lower expert first among equals, and the
/// softmax over these k.
/// Shapes  logits [R, E] f32 or f64, experts [R, k] i32, weights [R, k] of the logits' type, k <= E
void route_forward(Context& ctx, ConstView logits, View experts, View weights);
/// d_logits [R, E], zero for experts that were not chosen.
void route_backward(Context& ctx, ConstView experts, ConstView weights, ConstView d_weights,
                    View d_logits);

}  // namespace grouphead::ops
