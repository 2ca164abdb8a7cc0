#include "ops/rms_norm.h"

#include <cmath>

#include "ops/rowwise.h"

namespace grouphead::ops {
namespace {

// Partial sums of a row: enough for a vector of doubles each.
constexpr Index kLanes = 16;
// Columns of one unit of the parameter's gradient.
constexpr Index kColumns = 64;

/// The sum of term(i) over a row, in double.
template <class Term>
double row_sum(Index width, Term&& term) {
  double lanes[kLanes] = {};
  Index i = 0;
  for (; i + kLanes <= width; i += kLanes) {
    for (Index lane = 0; lane < kLanes; ++lane) lanes[lane] += term(i + lane);
  }
  double sum = 0;
  for (; i < width; ++i) sum += term(i);
  for (const double lane : lanes) sum += lane;
  return sum;
}

}  // namespace

void rms_norm_forward(Context& ctx, ConstView x, ConstView gamma, MeasuredAbout about,
                      double epsilon, View y, View center, View scale) {
  constexpr std::string_view kName = "rms_norm";
  const Rows rows = spaced_rows_of(kName, "x", x);
  const Index stride = core::row_stride(x);
  with_float_type(kName, "x", x, [&](auto zero) {
    using F = decltype(zero);
    require_elements(kName, "gamma", gamma, rows.width, kDtypeOf<F>);
    require_elements(kName, "y", y, x.size(), kDtypeOf<F>);
    require_elements(kName, "center", center, rows.count, kDtypeOf<F>);
    require_elements(kName, "scale", scale, rows.count, kDtypeOf<F>);
    const F* gains = gamma.data<F>();
    const auto width = static_cast<double>(rows.width);
    for_row_blocks(ctx, rows, [&](Index begin, Index end) {
      for (Index r = begin; r < end; ++r) {
        const F* in = x.data<F>() + r * stride;
        F* out = y.data<F>() + r * rows.width;
        const double c = about == MeasuredAbout::zero
                             ? 0
                             : row_sum(rows.width, [in](Index i) { return double{in[i]}; }) / width;
        const double mean_square = row_sum(rows.width,
                                           [in, c](Index i) {
                                             const double distance = double{in[i]} - c;
                                             return distance * distance;
                                           }) /
                                   width;
        const auto s = static_cast<F>(1 / std::sqrt(mean_square + epsilon));
        for (Index i = 0; i < rows.width; ++i) out[i] = in[i] * s * gains[i];
        center.data<F>()[r] = static_cast<F>(c);
        scale.data<F>()[r] = s;
      }
    });
  });
}

void rms_norm_backward(Context& ctx, ConstView x, ConstView gamma, ConstView center,
                       ConstView scale, ConstView d_y, Write write, View d_x, View d_gamma) {
  constexpr std::string_view kName = "rms_norm_backward";
  const Rows rows = rows_of(kName, "x", x);
  with_float_type(kName, "x", x, [&](auto zero) {
    using F = decltype(zero);
    require_elements(kName, "gamma", gamma, rows.width, kDtypeOf<F>);
    require_elements(kName, "d_y", d_y, x.size(), kDtypeOf<F>);
    require_elements(kName, "center", center, rows.count, kDtypeOf<F>);
    require_elements(kName, "scale", scale, rows.count, kDtypeOf<F>);
    const F* inputs = x.data<F>();
    const F* gradients = d_y.data<F>();
    const F* gains = gamma.data<F>();
    const F* scales = scale.data<F>();
    F* d_inputs = optional_elements<F>(kName, "d_x", d_x, x.size());
    F* d_gains = optional_elements<F>(kName, "d_gamma", d_gamma, rows.width);
    // With g = d_y gamma: d_x = s g - s^3 (x - c) mean(g x), for d s / d x = -s^3 (x - c) / M.
    const auto one_row = [&](Index r) {
      const F* in = inputs + r * rows.width;
      const F* g = gradients + r * rows.width;
      F* out = d_inputs + r * rows.width;
      const double s = scales[r];
      const double c = center.data<F>()[r];
      const double along = row_sum(
          rows.width, [&](Index i) { return double{g[i]} * double{gains[i]} * double{in[i]}; });
      const double pull = s * s * s * along / static_cast<double>(rows.width);
      for (Index i = 0; i < rows.width; ++i) {
        const double value = s * double{g[i]} * double{gains[i]} - pull * (double{in[i]} - c);
        out[i] = static_cast<F>(write == Write::add ? out[i] + value : value);
      }
    };
    if (d_inputs != nullptr) {
      for_row_blocks(ctx, rows, [&](Index begin, Index end) {
        for (Index r = begin; r < end; ++r) one_row(r);
      });
    }
    if (d_gains == nullptr) return;
    for_blocks(ctx, rows.width, kColumns, [&](Index begin, Index end) {
      double sums[kColumns] = {};
      for (Index r = 0; r < rows.count; ++r) {
        const Index at = r * rows.width + begin;
        for (Index i = 0; i < end - begin; ++i) {
          sums[i] += double{gradients[at + i]} * double{inputs[at + i]} * double{scales[r]};
        }
      }
      for (Index i = 0; i < end - begin; ++i) d_gains[begin + i] += static_cast<F>(sums[i]);
    });
  });
}

}  // namespace grouphead::ops
