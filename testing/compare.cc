#include "testing/compare.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/check.h"

namespace grouphead::testing {
namespace {

double element(const ConstView& x, Index i) {
  if (x.dtype() == Dtype::f64) return static_cast<const double*>(x.raw())[i];
  return static_cast<double>(static_cast<const float*>(x.raw())[i]);
}

void require_numbers(const ConstView& x) {
  if (x.dtype() != Dtype::f32 && x.dtype() != Dtype::f64) {
    core::throw_shape_error("compare", "element type", "f32 or f64", name_of(x.dtype()));
  }
  core::require_contiguous("compare", "operand", x);
}

double difference(double got, double want) noexcept {
  if (std::isnan(got) && std::isnan(want)) return 0;
  if (got == want) return 0;
  const double error = std::abs(got - want);
  return std::isnan(error) ? std::numeric_limits<double>::infinity() : error;
}

// The error in terms of its bound; more than 1: not within it. A bound that is not finite holds
// nothing back, so only equal values are within it.
double share_of(double error, double bound) noexcept {
  if (error == 0) return 0;
  const bool can_fail = std::isfinite(error) && std::isfinite(bound) && bound > 0;
  return can_fail ? error / bound : std::numeric_limits<double>::infinity();
}

std::string position(const Shape& shape, Index flat) {
  std::string text;
  for (int axis = shape.rank() - 1; axis >= 0; --axis) {
    text.insert(0, std::to_string(flat % shape[axis]) + (text.empty() ? "" : ", "));
    flat /= shape[axis];
  }
  return text;
}

void require_same_shape(const std::string& what, const ConstView& got, const ConstView& want) {
  if (got.shape() == want.shape()) return;
  core::throw_shape_error("compare", what, want.shape().to_string(), got.shape().to_string());
}

template <class Bound>
Comparison compare_elements(std::string what, const ConstView& got, const ConstView& want,
                            const Bound& bound_of) {
  require_same_shape(what, got, want);
  require_numbers(got);
  require_numbers(want);
  Comparison result;
  result.what = std::move(what);
  result.shape = got.shape();
  double worst_ratio = -1;
  for (Index i = 0; i < got.size(); ++i) {
    const double bound = bound_of(i);
    const double error = difference(element(got, i), element(want, i));
    const double ratio = share_of(error, bound);
    if (ratio > 1) ++result.num_above;
    if (ratio > worst_ratio) {
      worst_ratio = ratio;
      result.worst = i;
      result.got = element(got, i);
      result.want = element(want, i);
      result.error = error;
      result.bound = bound;
    }
  }
  return result;
}

}  // namespace

std::string Comparison::to_string() const {
  if (worst < 0) return fmt::format("{}{}: no elements", what, shape.to_string());
  return fmt::format("{}[{}]: got {:.9g}, want {:.9g}, error {:.2e}, bound {:.2e}, {} of {} above",
                     what, position(shape, worst), got, want, error, bound, num_above,
                     shape.size());
}

Comparison compare(std::string what, ConstView got, ConstView want, double bound) {
  return compare_elements(std::move(what), got, want, [bound](Index) { return bound; });
}

Comparison compare(std::string what, ConstView got, ConstView want, ConstView bounds) {
  const double* each = bounds.data<double>();
  return compare_elements(std::move(what), got, want, [each](Index i) { return each[i]; });
}

Comparison compare_exact(std::string what, ConstView got, ConstView want) {
  require_same_shape(what, got, want);
  for (const ConstView& each : {got, want}) {
    core::require_dtype("compare", what, each, Dtype::i64);
    core::require_contiguous("compare", what, each);
  }
  Comparison result;
  result.what = std::move(what);
  result.shape = got.shape();
  const auto* x = got.data<Index>();
  const auto* y = want.data<Index>();
  for (Index i = 0; i < got.size(); ++i) {
    const bool is_worse = result.worst < 0 || (x[i] != y[i] && result.num_above == 0);
    if (x[i] != y[i]) ++result.num_above;
    if (!is_worse) continue;
    result.worst = i;
    result.got = static_cast<double>(x[i]);
    result.want = static_cast<double>(y[i]);
    result.error = x[i] == y[i] ? 0 : std::max(1.0, std::abs(result.got - result.want));
  }
  return result;
}

double max_abs(ConstView x) {
  require_numbers(x);
  double largest = 0;
  for (Index i = 0; i < x.size(); ++i) {
    const double size = std::abs(element(x, i));
    if (std::isfinite(size)) largest = std::max(largest, size);
  }
  return largest;
}

double unit_roundoff(Dtype dtype) { return dtype == Dtype::f64 ? 0x1p-53 : 0x1p-24; }

}  // namespace grouphead::testing
