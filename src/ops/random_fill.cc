#include "ops/random_fill.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "ops/floating.h"

namespace grouphead::ops {
namespace {

constexpr std::string_view kName = "random";

/// How JAX draws numbers of a type: how many of a word's low bits it takes, and how many of those,
/// the upper ones, become the fraction.
template <class F>
struct Format;
template <>
struct Format<float> {
  static constexpr int kBits = 32, kFraction = 23;
};
template <>
struct Format<Bf16> {
  static constexpr int kBits = 8, kFraction = 7;
};
template <>
struct Format<F16> {
  static constexpr int kBits = 16, kFraction = 10;
};

template <class F>
float rounded(float x) noexcept {
  return static_cast<float>(widened(narrowed<F>(static_cast<double>(x))));
}

/// The number of the type just below x, a power of two.
template <class F>
float below(float x) noexcept {
  return x - std::ldexp(x, -Format<F>::kFraction - 1);
}

/// U[low, high) from 32 random bits; every operation rounds to the type, but f32 multiplies and
/// adds at once, as XLA does.
template <class F>
class Uniform {
 public:
  Uniform(float low, float high) : low_(low), width_(rounded<F>(high - low)) {}
  float operator()(std::uint32_t bits) const noexcept {
    using Type = Format<F>;
    const std::uint32_t fraction =
        static_cast<std::uint32_t>(std::uint64_t{bits} & ((std::uint64_t{1} << Type::kBits) - 1)) >>
        (Type::kBits - Type::kFraction);
    const float u = std::ldexp(static_cast<float>(fraction), -Type::kFraction);
    const float x = std::is_same_v<F, float> ? std::fma(u, width_, low_)
                                             : rounded<F>(rounded<F>(u * width_) + low_);
    return std::max(low_, x);
  }

 private:
  float low_, width_;
};

/// The inverse of erf within (-1, 1). Source: Giles 2012, "Approximating the erfinv function",
/// single precision.
float inverse_erf(float x) noexcept {
  constexpr float kCentral[] = {2.81022636e-08F,  3.43273939e-07F, -3.5233877e-06F,
                                -4.39150654e-06F, 0.00021858087F,  -0.00125372503F,
                                -0.00417768164F,  0.246640727F,    1.50140941F};
  constexpr float kTail[] = {-0.000200214257F, 0.000100950558F, 0.00134934322F,
                             -0.00367342844F,  0.00573950773F,  -0.0076224613F,
                             0.00943887047F,   1.00167406F,     2.83297682F};
  float w = -std::log1p(-x * x);
  const bool is_central = w < 5;
  w = is_central ? w - 2.5F : std::sqrt(w) - 3;
  const auto& coefficients = is_central ? kCentral : kTail;
  float p = coefficients[0];
  for (int i = 1; i < 9; ++i) p = std::fma(p, w, coefficients[i]);
  return p * x;
}

/// sqrt(2) erfinv(u)
template <class F>
float normal_quantile(float u) noexcept {
  const float root = rounded<F>(std::numbers::sqrt2_v<float>);
  return rounded<F>(root * rounded<F>(inverse_erf(u)));
}

/// w[i] = number(bits of element i) with `number` = make(F{}) for the type F whose numbers w gets.
template <class Make>
void fill(View w, RandomKey key, const Make& make) {
  core::require_contiguous(kName, "w", w);
  with_floating(kName, "w", w.dtype(), [&](auto zero) {
    using Stored = decltype(zero);
    using F = std::conditional_t<std::is_same_v<Stored, double>, float, Stored>;
    const auto number = make(F{});
    auto* to = w.data<Stored>();
    for (Index i = 0; i < w.size(); ++i) {
      to[i] = narrowed<Stored>(number(threefry2x32(key, static_cast<std::uint64_t>(i))));
    }
  });
}

/// z stddev + mean, rounded twice.
template <class F>
float moved(float z, float mean, float stddev) noexcept {
  return rounded<F>(rounded<F>(z * rounded<F>(stddev)) + rounded<F>(mean));
}

}  // namespace

void fill_uniform(View w, double low, double high, RandomKey key) {
  fill(w, key, [&](auto zero) {
    using F = decltype(zero);
    return Uniform<F>(rounded<F>(static_cast<float>(low)), rounded<F>(static_cast<float>(high)));
  });
}

void fill_normal(View w, double mean, double stddev, RandomKey key) {
  const auto to_mean = static_cast<float>(mean);
  const auto to_stddev = static_cast<float>(stddev);
  fill(w, key, [&](auto zero) {
    using F = decltype(zero);
    return [uniform = Uniform<F>(-below<F>(1), 1), to_mean, to_stddev](std::uint32_t bits) {
      return moved<F>(normal_quantile<F>(uniform(bits)), to_mean, to_stddev);
    };
  });
}

void fill_truncated_normal(View w, double mean, double stddev, RandomKey key) {
  const auto to_mean = static_cast<float>(mean);
  const auto to_stddev = static_cast<float>(stddev);
  fill(w, key, [&](auto zero) {
    using F = decltype(zero);
    const float bound = rounded<F>(2 / rounded<F>(std::numbers::sqrt2_v<float>));
    const float share = rounded<F>(std::erf(bound));
    const float last = below<F>(2);
    return [uniform = Uniform<F>(-share, share), last, to_mean, to_stddev](std::uint32_t bits) {
      const float z = std::clamp(normal_quantile<F>(uniform(bits)), -last, last);
      return moved<F>(z, to_mean, to_stddev);
    };
  });
}

}  // namespace grouphead::ops
