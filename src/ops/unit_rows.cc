#include "ops/unit_rows.h"

#include <cmath>

#include "ops/rowwise.h"

namespace grouphead::ops {
namespace {

constexpr double kEpsilon = 1e-7;  // keras.config.epsilon()

template <class F>
double inner(const F* a, const F* b, Index width) noexcept {
  double sum = 0;
  for (Index i = 0; i < width; ++i) sum += static_cast<double>(a[i]) * b[i];
  return sum;
}

}  // namespace

void unit_rows_forward(Context& ctx, ConstView x, View y) {
  const Rows rows = rows_of("unit_rows", "x", x);
  with_float_type("unit_rows", "x", x, [&](auto zero) {
    using F = decltype(zero);
    require_elements("unit_rows", "y", y, x.size(), kDtypeOf<F>);
    for_row_blocks(ctx, rows, [&](Index begin, Index end) {
      for (Index r = begin; r < end; ++r) {
        const F* in = x.data<F>() + r * rows.width;
        F* out = y.data<F>() + r * rows.width;
        const double norm = std::sqrt(inner(in, in, rows.width));
        const auto factor = static_cast<F>(1 / (norm < kEpsilon ? kEpsilon : norm));
        for (Index i = 0; i < rows.width; ++i) out[i] = in[i] * factor;
      }
    });
  });
}

// d_x = (d_y - y (y . d_y)) / |x| with y = x / |x|.
void unit_rows_backward(Context& ctx, ConstView x, ConstView d_y, View d_x) {
  const Rows rows = rows_of("unit_rows_backward", "x", x);
  with_float_type("unit_rows_backward", "x", x, [&](auto zero) {
    using F = decltype(zero);
    require_elements("unit_rows_backward", "d_y", d_y, x.size(), kDtypeOf<F>);
    require_elements("unit_rows_backward", "d_x", d_x, x.size(), kDtypeOf<F>);
    for_row_blocks(ctx, rows, [&](Index begin, Index end) {
      for (Index r = begin; r < end; ++r) {
        const F* in = x.data<F>() + r * rows.width;
        const F* d_out = d_y.data<F>() + r * rows.width;
        F* d_in = d_x.data<F>() + r * rows.width;
        const double norm = std::sqrt(inner(in, in, rows.width));
        const bool is_cut = norm < kEpsilon;
        const auto factor = static_cast<F>(1 / (is_cut ? kEpsilon : norm));
        const auto along =
            static_cast<F>(is_cut ? 0 : inner(in, d_out, rows.width) / (norm * norm));
        for (Index i = 0; i < rows.width; ++i) d_in[i] = (d_out[i] - in[i] * along) * factor;
      }
    });
  });
}

}  // namespace grouphead::ops
