#pragma once

// Dropout. f32 through the kernels of the Context's level, f64 through the references.
// Tensors are contiguous unless said.

#include "grouphead/core/context.h"
#include "grouphead/core/random.h"

namespace grouphead::ops {

/// y = x / (1 - rate) where the element is kept, else 0; rate 1 keeps none. The factor is rounded
/// as for numbers of the type `grid`. Its own backward: the same call on the gradient. y may be x.
/// Kept is  philox: where word i % 4 of block i / 4 of the key is at least rate 2^32, for element i
///          threefry: where the uniform number of its word is below 1 - rate, bit for bit as in
///          keras.random.dropout on JAX
/// The first element of x is element `first` of the draw.
/// Errors  ConfigError unless 0 <= rate <= 1
void dropout(Context& ctx, ConstView x, double rate, RandomDraw draw, Dtype grid, View y,
             Index first = 0);

}  // namespace grouphead::ops
