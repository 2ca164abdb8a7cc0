#pragma once

// Penalties of regularizers and their gradients; f32 or f64, contiguous. Sums run over fixed
// blocks, in double.

#include "grouphead/core/context.h"
#include "grouphead/core/tensor.h"

namespace grouphead::ops {

/// Sum of |x|.
double sum_of_magnitudes(Context& ctx, ConstView x);
/// d_x += magnitudes d sum |x| / d x + squares d sum x^2 / d x. As in JAX the derivative of |x| at
/// 0 is 1.
void add_penalty_gradient(Context& ctx, ConstView x, double magnitudes, double squares, View d_x);

/// Which vectors of a matrix.
enum class Vectors : std::uint8_t { rows, columns };
/// Mean of |cos| of the angles between all pairs of vectors of x [R, C]; 0 where there is no pair.
/// Vectors shorter than 1e-7 are divided by that.
double mean_cosine(Context& ctx, ConstView x, Vectors vectors);
/// d_x += scale d mean_cosine / d x; nothing to a vector of zeros.
void add_mean_cosine_gradient(Context& ctx, ConstView x, Vectors vectors, double scale, View d_x);

}  // namespace grouphead::ops
