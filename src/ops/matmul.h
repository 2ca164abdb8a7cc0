#pragma once

#include "ops/linear.h"

namespace grouphead::ops {

/// c = a b (or c += a b) over the last two axes; the axes before are batches, which a and b may
/// repeat by strides of 0. Shapes: a [.., M, K] and b [.., K, N] of any strides, c [.., M, N]
/// contiguous; f32 or f64. Errors: ShapeError.
void matmul(Context& ctx, ConstView a, ConstView b, Write write, View c);

}  // namespace grouphead::ops
