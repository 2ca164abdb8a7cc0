#pragma once

// Rows of whole numbers, as Keras's quantized layers make them of their inputs. Plain code: the
// same numbers at every level.

#include <cstdint>

namespace grouphead::kernels {

/// to[i] = x[i] scale, rounded to the nearest whole number, ties to even, and cut to [least, most],
/// with scale = most / (max |x| + epsilon), which is returned. A NaN stays one. In place: to == x.
/// Source: keras.quantizers.abs_max_quantize.
template <class F>
F round_row(std::int64_t n, const F* x, F least, F most, F epsilon, F* to) noexcept;

/// y[i] = y[i] / (row_scale column_scales[i]) + bias[i]. Either array may be null.
template <class F>
void unscale_row(std::int64_t n, F row_scale, const F* column_scales, const F* bias, F* y) noexcept;

}  // namespace grouphead::kernels
