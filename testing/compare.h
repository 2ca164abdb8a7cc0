#pragma once

#include <string>

#include "grouphead/core/tensor.h"

namespace grouphead::testing {

/// The element of a result that is worst in terms of its bound.
struct Comparison {
  std::string what{};  ///< which result, for messages
  Shape shape{};
  Index worst = -1;  ///< row-major; -1: nothing to compare
  double got = 0;
  double want = 0;
  double error = 0;
  double bound = 0;
  Index num_above = 0;  ///< elements above their bound

  bool ok() const noexcept { return num_above == 0; }
  /// `out[0, 3, 1, 7]: got 0.51, want 0.5, error 1.0e-02, bound 3.1e-05, 12 of 4096 above`
  std::string to_string() const;
};

/// Compares element by element. An infinity matches only the same infinity, NaN only NaN, whatever
/// the bound; a bound that is not finite lets only equal values pass. Views are contiguous, f32 or
/// f64.
/// Errors: ShapeError when shapes differ.
Comparison compare(std::string what, ConstView got, ConstView want, double bound);
/// The same with one bound per element (f64).
Comparison compare(std::string what, ConstView got, ConstView want, ConstView bounds);

/// Compares integers (i64, contiguous) for equality; `worst` is the first that differs.
/// Errors: ShapeError.
Comparison compare_exact(std::string what, ConstView got, ConstView want);

/// Largest absolute value of those that are finite; 0 if there are none. What tolerances are
/// relative to: an infinity in the data must not make one infinite.
double max_abs(ConstView x);

/// 2^-24 or 2^-53: the largest relative error of one rounding.
double unit_roundoff(Dtype dtype);

}  // namespace grouphead::testing
