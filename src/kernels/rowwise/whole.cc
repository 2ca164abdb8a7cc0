#include "kernels/rowwise/whole.h"

#include <algorithm>
#include <cmath>
#include <type_traits>

namespace grouphead::kernels {

template <class F>
F round_row(std::int64_t n, const F* x, F least, F most, F epsilon, F* to) noexcept {
  // Added to a number of less than a quarter of it, it leaves no bits for a fraction.
  constexpr F kWhole = std::is_same_v<F, float> ? F(0x1.8p23) : F(0x1.8p52);
  F greatest = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    const F size = std::abs(x[i]);
    greatest = size > greatest ? size : greatest;
  }
  const F scale = most / (greatest + epsilon);
  for (std::int64_t i = 0; i < n; ++i) {
    const F whole = (x[i] * scale + kWhole) - kWhole;
    const F cut = whole > most ? most : whole;
    to[i] = cut < least ? least : cut;
  }
  return scale;
}

template <class F>
void unscale_row(std::int64_t n, F row_scale, const F* column_scales, const F* bias,
                 F* y) noexcept {
  if (column_scales != nullptr) {
    for (std::int64_t i = 0; i < n; ++i) y[i] /= row_scale * column_scales[i];
  } else {
    for (std::int64_t i = 0; i < n; ++i) y[i] /= row_scale;
  }
  if (bias == nullptr) return;
  for (std::int64_t i = 0; i < n; ++i) y[i] += bias[i];
}

template float round_row(std::int64_t, const float*, float, float, float, float*) noexcept;
template double round_row(std::int64_t, const double*, double, double, double, double*) noexcept;
template void unscale_row(std::int64_t, float, const float*, const float*, float*) noexcept;
template void unscale_row(std::int64_t, double, const double*, const double*, double*) noexcept;

}  // namespace grouphead::kernels
