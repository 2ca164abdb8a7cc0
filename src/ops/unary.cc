// Functions of one element with their derivatives.

#include <cmath>
#include <limits>
#include <numbers>

#include "ops/broadcasting.h"
#include "ops/rowwise.h"

namespace grouphead::ops {
namespace {

constexpr std::string_view kName = "elementwise";

/// y with erf(y) = x: an estimate (Winitzki 2008), then Newton's steps.
double inverse_erf(double x) noexcept {
  if (!(std::abs(x) < 1)) {
    return std::abs(x) == 1 ? std::copysign(std::numeric_limits<double>::infinity(), x)
                            : std::numeric_limits<double>::quiet_NaN();
  }
  constexpr double kA = 0.147;
  const double log = std::log1p(-x * x);
  const double half = 2 / (std::numbers::pi * kA) + log / 2;
  double y = std::copysign(std::sqrt(std::sqrt(half * half - log / kA) - half), x);
  for (int i = 0; i < 4; ++i) {
    // erfc keeps what erf rounds away near 1.
    const double error = x < 0 ? std::erfc(-y) - (1 + x) : (1 - x) - std::erfc(y);
    const double slope = 2 / std::sqrt(std::numbers::pi) * std::exp(-y * y);
    if (slope > 0) y -= error / slope;
  }
  return y;
}

template <class F>
F sign_of(F x) noexcept {
  return x > 0 ? F{1} : (x < 0 ? F{-1} : x);
}

template <class F>
F value_of(Unary kind, F x) noexcept {
  switch (kind) {
    case Unary::absolute:
      return std::abs(x);
    case Unary::arccos:
      return std::acos(x);
    case Unary::arccosh:
      return std::acosh(x);
    case Unary::arcsin:
      return std::asin(x);
    case Unary::arcsinh:
      return std::asinh(x);
    case Unary::arctan:
      return std::atan(x);
    case Unary::arctanh:
      return std::atanh(x);
    case Unary::cbrt:
      return std::cbrt(x);
    case Unary::ceil:
      return std::ceil(x);
    case Unary::cos:
      return std::cos(x);
    case Unary::cosh:
      return std::cosh(x);
    case Unary::erf:
      return std::erf(x);
    case Unary::erfc:
      return std::erfc(x);
    case Unary::erfinv:
      return static_cast<F>(inverse_erf(static_cast<double>(x)));
    case Unary::exp:
      return std::exp(x);
    case Unary::exp2:
      return std::exp2(x);
    case Unary::expm1:
      return std::expm1(x);
    case Unary::floor:
      return std::floor(x);
    case Unary::log:
      return std::log(x);
    case Unary::log10:
      return std::log10(x);
    case Unary::log1p:
      return std::log1p(x);
    case Unary::log2:
      return std::log2(x);
    case Unary::negative:
      return -x;
    case Unary::reciprocal:
      return 1 / x;
    case Unary::round:
      return std::nearbyint(x);
    case Unary::rsqrt:
      return 1 / std::sqrt(x);
    case Unary::sigmoid:
      return 1 / (1 + std::exp(-x));
    case Unary::sign:
      return sign_of(x);
    case Unary::sin:
      return std::sin(x);
    case Unary::sinh:
      return std::sinh(x);
    case Unary::sqrt:
      return std::sqrt(x);
    case Unary::square:
      return x * x;
    case Unary::tan:
      return std::tan(x);
    case Unary::tanh:
      return std::tanh(x);
    case Unary::trunc:
      return std::trunc(x);
  }
  return x;
}

template <class F>
F slope_of(Unary kind, F x) noexcept {
  constexpr F kLn2 = std::numbers::ln2_v<F>;
  constexpr F kRootPi = 1 / std::numbers::inv_sqrtpi_v<F>;
  const F y = value_of(kind, x);
  switch (kind) {
    case Unary::absolute:
      return x < 0 ? F{-1} : F{1};
    case Unary::arccos:
      return -1 / std::sqrt((1 - x) * (1 + x));
    case Unary::arccosh:
      return 1 / std::sqrt((x - 1) * (x + 1));
    case Unary::arcsin:
      return 1 / std::sqrt((1 - x) * (1 + x));
    case Unary::arcsinh:
      return 1 / std::sqrt(x * x + 1);
    case Unary::arctan:
      return 1 / (1 + x * x);
    case Unary::arctanh:
      return 1 / ((1 - x) * (1 + x));
    case Unary::cbrt:
      return y / (3 * x);
    case Unary::ceil:
    case Unary::floor:
    case Unary::round:
    case Unary::sign:
    case Unary::trunc:
      return 0;
    case Unary::cos:
      return -std::sin(x);
    case Unary::cosh:
      return std::sinh(x);
    case Unary::erf:
      return 2 / kRootPi * std::exp(-x * x);
    case Unary::erfc:
      return -2 / kRootPi * std::exp(-x * x);
    case Unary::erfinv:
      return kRootPi / 2 * std::exp(y * y);
    case Unary::exp:
      return y;
    case Unary::exp2:
      return kLn2 * y;
    case Unary::expm1:
      return y + 1;
    case Unary::log:
      return 1 / x;
    case Unary::log10:
      return 1 / (std::numbers::ln10_v<F> * x);
    case Unary::log1p:
      return 1 / (1 + x);
    case Unary::log2:
      return 1 / (kLn2 * x);
    case Unary::negative:
      return -1;
    case Unary::reciprocal:
      return -y * y;
    case Unary::rsqrt:
      return F{-0.5} * y / x;
    case Unary::sigmoid:
      return y * (1 - y);
    case Unary::sin:
      return std::cos(x);
    case Unary::sinh:
      return std::cosh(x);
    case Unary::sqrt:
      return F{0.5} / y;
    case Unary::square:
      return 2 * x;
    case Unary::tan:
      return 1 + y * y;
    case Unary::tanh:
      return 1 - y * y;
  }
  return 1;
}

/// function(to[i], x[i], i) for all elements.
template <class T, class Function>
void for_elements(Context& ctx, const ConstView& x, const View& y, Function&& function) {
  require_elements(kName, "x", x, y.size(), kDtypeOf<T>);
  require_elements(kName, "y", y, x.size(), kDtypeOf<T>);
  const T* in = x.data<T>();
  T* out = y.data<T>();
  for_blocks(ctx, x.size(), kBlockElements, [&](Index begin, Index end) {
    for (Index i = begin; i < end; ++i) function(out[i], in[i], i);
  });
}

}  // namespace

void unary_forward(Context& ctx, Unary kind, ConstView x, View y) {
  if (x.dtype() == Dtype::i64) {
    for_elements<Index>(ctx, x, y, [kind](Index& to, Index value, Index) {
      const auto bits = static_cast<std::uint64_t>(value);
      if (kind == Unary::square) {
        to = static_cast<Index>(bits * bits);
      } else {
        to = kind == Unary::negative || value < 0 ? static_cast<Index>(-bits) : value;
      }
    });
    return;
  }
  with_float_type(kName, "x", x, [&](auto zero) {
    using F = decltype(zero);
    for_elements<F>(ctx, x, y, [kind](F& to, F value, Index) { to = value_of(kind, value); });
  });
}

void unary_backward(Context& ctx, Unary kind, ConstView x, ConstView d_y, View d_x) {
  with_float_type(kName, "x", x, [&](auto zero) {
    using F = decltype(zero);
    require_elements(kName, "d_y", d_y, x.size(), kDtypeOf<F>);
    const F* gradient = d_y.data<F>();
    for_elements<F>(ctx, x, d_x,
                    [&](F& sum, F value, Index i) { sum += gradient[i] * slope_of(kind, value); });
  });
}

}  // namespace grouphead::ops
