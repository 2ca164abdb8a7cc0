#include "ops/unit_norm.h"

#include <cmath>

#include "ops/rowwise.h"

namespace grouphead::ops {
namespace {

constexpr double kLargestScale = 1e12;

template <class F>
double scale_of(const F* row, Index width) {
  double sum = 0;
  for (Index m = 0; m < width; ++m) sum += static_cast<double>(row[m]) * row[m];
  return std::min(1 / std::sqrt(sum), kLargestScale);
}

}  // namespace

void unit_norm_forward(Context& ctx, ConstView x, View y) {
  const Rows rows = rows_of("unit_norm", "x", x);
  require_elements("unit_norm", "y", y, x.size(), x.dtype());
  with_float_type("unit_norm", "x", x, [&](auto zero) {
    using F = decltype(zero);
    for_row_blocks(ctx, rows, [&](Index begin, Index end) {
      for (Index row = begin; row < end; ++row) {
        const F* const from = x.data<F>() + row * rows.width;
        F* const to = y.data<F>() + row * rows.width;
        const auto scale = static_cast<F>(scale_of(from, rows.width));
        for (Index m = 0; m < rows.width; ++m) to[m] = from[m] * scale;
      }
    });
  });
}

void unit_norm_backward(Context& ctx, ConstView x, ConstView d_y, View d_x) {
  constexpr std::string_view kName = "unit_norm_backward";
  const Rows rows = rows_of(kName, "x", x);
  require_elements(kName, "d_y", d_y, x.size(), x.dtype());
  require_elements(kName, "d_x", d_x, x.size(), x.dtype());
  with_float_type(kName, "x", x, [&](auto zero) {
    using F = decltype(zero);
    for_row_blocks(ctx, rows, [&](Index begin, Index end) {
      for (Index row = begin; row < end; ++row) {
        const F* const from = x.data<F>() + row * rows.width;
        const F* const d = d_y.data<F>() + row * rows.width;
        F* const to = d_x.data<F>() + row * rows.width;
        const double scale = scale_of(from, rows.width);
        double along = 0;  // of d_y along the row, over its squared length
        if (scale < kLargestScale) {
          for (Index m = 0; m < rows.width; ++m) along += static_cast<double>(d[m]) * from[m];
          along *= scale * scale;
        }
        for (Index m = 0; m < rows.width; ++m) {
          to[m] += static_cast<F>(scale * (d[m] - along * from[m]));
        }
      }
    });
  });
}

}  // namespace grouphead::ops
