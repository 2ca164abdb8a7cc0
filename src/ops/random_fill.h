#pragma once

// Random numbers of Keras on JAX: a pure function of key, element and type. f64 gets the numbers of
// f32; the 16-bit types have bits and roundings of their own.

#include "grouphead/core/random.h"

namespace grouphead::ops {

/// U[low, high). w: any floating type, contiguous. Source: jax.random.uniform.
void fill_uniform(View w, double low, double high, RandomKey key);
/// N(mean, stddev^2). Source: jax.random.normal.
void fill_normal(View w, double mean, double stddev, RandomKey key);
/// The same within (mean - 2 stddev, mean + 2 stddev). Source: jax.random.truncated_normal.
void fill_truncated_normal(View w, double mean, double stddev, RandomKey key);

/// q [rows, columns] with orthonormal columns, or rows where there are fewer: the Q of the
/// decomposition A = Q R with a positive diagonal of R, and A the numbers of fill_normal(), of
/// shape [max, min]. f32, contiguous. Source: keras.initializers.Orthogonal.
void fill_orthogonal(View q, RandomKey key);

}  // namespace grouphead::ops
