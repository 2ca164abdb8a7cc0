#pragma once

// Rounding to floating-point numbers of 8 bits. Plain code: the same numbers at every level.

#include <cstdint>

namespace grouphead::kernels {

/// Numbers of 8 bits: bits behind the point, the least exponent, the largest number.
struct Float8Form {
  int fraction_bits;
  int least_exponent;
  float most;
};
inline constexpr Float8Form kE4M3 = {3, -6, 448};
inline constexpr Float8Form kE5M2 = {2, -14, 57344};

/// to[i] = scale times the number of that form next to x[i] / scale, ties to even; beyond the
/// largest it is that. NaN stays. In place: to == x. Source:
/// keras.quantizers.quantize_and_dequantize.
template <class F>
void round_to_float8(std::int64_t n, const F* x, F scale, const Float8Form& form, F* to) noexcept;

}  // namespace grouphead::kernels
