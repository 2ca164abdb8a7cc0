#pragma once

// Initial numbers of parameters. A parameter takes one key of the model's stream, whatever its
// size, so a layer's numbers do not depend on the sizes of the others. f32 numbers are the rounded
// f64 ones: a model has the same weights in both types.

#include "grouphead/random.h"
#include "grouphead/tensor.h"

namespace grouphead::nn {

/// Limit of U(-limit, limit) with variance 2 / (fan_in + fan_out).
/// Source: Glorot & Bengio 2010; keras.initializers.GlorotUniform.
double glorot_limit(Index fan_in, Index fan_out) noexcept;

/// w[i] = low + (high - low) u, u in [0, 1) from word i of `key`. Errors: ShapeError unless
/// f32/f64.
void fill_uniform(View w, double low, double high, RandomKey key);

void fill_ones(View w);

}  // namespace grouphead::nn
