#include "kernels/rowwise/float8.h"

#include <algorithm>
#include <cmath>

namespace grouphead::kernels {

template <class F>
void round_to_float8(std::int64_t n, const F* x, F scale, const Float8Form& form, F* to) noexcept {
  const F most = form.most;
  for (std::int64_t i = 0; i < n; ++i) {
    const F exact = x[i] / scale;
    const F cut = exact > most ? most : (exact < -most ? -most : exact);
    const int exponent = cut == 0 || std::isnan(cut) ? form.least_exponent : std::ilogb(cut);
    const int step = std::max(exponent, form.least_exponent) - form.fraction_bits;
    to[i] = std::ldexp(std::nearbyint(std::ldexp(cut, -step)), step) * scale;
  }
}

template void round_to_float8(std::int64_t, const float*, float, const Float8Form&,
                              float*) noexcept;
template void round_to_float8(std::int64_t, const double*, double, const Float8Form&,
                              double*) noexcept;

}  // namespace grouphead::kernels
