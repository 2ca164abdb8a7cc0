#pragma once

// Functions of one element: value(x), and gradient(x, d_y) = d_y value'(x). Where a derivative has
// two sides it is what JAX takes.

#include <cmath>

namespace grouphead::ops::activations {

struct Relu {
  template <class F>
  static F value(F x) noexcept {
    return x < 0 ? F{0} : x;  // NaN stays
  }
  template <class F>
  static F gradient(F x, F d_y) noexcept {
    return x > 0 ? d_y : F{0};
  }
};

struct Sigmoid {
  template <class F>
  static F value(F x) noexcept {
    return 1 / (1 + std::exp(-x));
  }
  // Without a difference from 1: both tails keep their relative accuracy.
  template <class F>
  static F gradient(F x, F d_y) noexcept {
    const F e = std::exp(-std::abs(x));
    return d_y * (e / ((1 + e) * (1 + e)));
  }
};

struct Silu {
  template <class F>
  static F value(F x) noexcept {
    return x / (1 + std::exp(-x));
  }
  template <class F>
  static F gradient(F x, F d_y) noexcept {
    const F s = Sigmoid::value(x);
    return d_y * (s * (1 + x * Sigmoid::value(-x)));
  }
};

// alpha (exp(x) - 1) up to zero. Source: Clevert et al. 2015, arXiv:1511.07289.
struct Elu {
  double alpha = 1;
  template <class F>
  F value(F x) const noexcept {
    return x > 0 ? x : static_cast<F>(alpha) * std::expm1(x);
  }
  template <class F>
  F gradient(F x, F d_y) const noexcept {
    return x > 0 ? d_y : d_y * (static_cast<F>(alpha) * std::exp(x));
  }
};

// Source: Klambauer et al. 2017, arXiv:1706.02515, equation 2.
struct Selu {
  template <class F>
  static constexpr F kScale = static_cast<F>(1.0507009873554804934);
  template <class F>
  static constexpr F kAlpha = static_cast<F>(1.6732632423543772848);

  template <class F>
  static F value(F x) noexcept {
    return x > 0 ? kScale<F> * x : kScale<F> * kAlpha<F> * std::expm1(x);
  }
  template <class F>
  static F gradient(F x, F d_y) noexcept {
    return x > 0 ? d_y * kScale<F> : d_y * (kScale<F> * kAlpha<F> * std::exp(x));
  }
};

// Source: Barron 2017, arXiv:1704.07483.
struct Celu {
  double alpha = 1;
  template <class F>
  F value(F x) const noexcept {
    return x > 0 ? x : static_cast<F>(alpha) * std::expm1(x / static_cast<F>(alpha));
  }
  template <class F>
  F gradient(F x, F d_y) const noexcept {
    return x > 0 ? d_y : d_y * std::exp(x / static_cast<F>(alpha));
  }
};

struct LeakyRelu {
  double slope = 0.2;
  template <class F>
  F value(F x) const noexcept {
    return x < 0 ? static_cast<F>(slope) * x : x;
  }
  template <class F>
  F gradient(F x, F d_y) const noexcept {
    return x < 0 ? static_cast<F>(slope) * d_y : d_y;
  }
};

// x above the threshold, cut at `highest`; less slope (threshold - x) below the threshold.
// Source: keras.activations.relu.
struct GeneralRelu {
  double slope = 0;
  double highest = 0;
  double threshold = 0;

  template <class F>
  F value(F x) const noexcept {
    const auto low = static_cast<F>(threshold);
    F y = x > low || (low == 0 && x != x) ? x : F{0};
    if (y > static_cast<F>(highest)) y = static_cast<F>(highest);
    return x < low ? y - static_cast<F>(slope) * (low - x) : y;
  }
  // Where x is cut, the derivative of a minimum, half of either side; but that of relu6 is 0.
  template <class F>
  F gradient(F x, F d_y) const noexcept {
    const auto low = static_cast<F>(threshold);
    const auto high = static_cast<F>(highest);
    if (x < low) return static_cast<F>(slope) * d_y;
    if (!(x > low) || x > high) return F{0};
    if (x < high) return d_y;
    return highest == 6 && threshold == 0 ? F{0} : d_y / 2;
  }
};

// log(1 + exp(x)), which is x from where exp(-x) no longer counts.
struct Softplus {
  template <class F>
  static F value(F x) noexcept {
    return (x < 0 ? F{0} : x) + std::log1p(std::exp(-std::abs(x)));
  }
  template <class F>
  static F gradient(F x, F d_y) noexcept {
    return d_y * Sigmoid::value(x);
  }
};

struct LogSigmoid {
  template <class F>
  static F value(F x) noexcept {
    return -Softplus::value(-x);
  }
  template <class F>
  static F gradient(F x, F d_y) noexcept {
    return d_y * Sigmoid::value(-x);
  }
};

struct Exponential {
  template <class F>
  static F value(F x) noexcept {
    return std::exp(x);
  }
  template <class F>
  static F gradient(F x, F d_y) noexcept {
    return d_y * std::exp(x);
  }
};

struct Tanh {
  template <class F>
  static F value(F x) noexcept {
    return std::tanh(x);
  }
  template <class F>
  static F gradient(F x, F d_y) noexcept {
    const F t = std::tanh(x);
    return d_y * ((1 - t) * (1 + t));
  }
};

struct TanhShrink {
  template <class F>
  static F value(F x) noexcept {
    return x - std::tanh(x);
  }
  template <class F>
  static F gradient(F x, F d_y) noexcept {
    const F t = std::tanh(x);
    return d_y * (t * t);
  }
};

// x tanh(softplus(x)). Source: Misra 2019, arXiv:1908.08681.
struct Mish {
  template <class F>
  static F value(F x) noexcept {
    return x * std::tanh(Softplus::value(x));
  }
  template <class F>
  static F gradient(F x, F d_y) noexcept {
    const F t = std::tanh(Softplus::value(x));
    return d_y * (t + x * ((1 - t) * (1 + t)) * Sigmoid::value(x));
  }
};

// (x + sqrt(x^2 + b)) / 2, without the difference below zero. Source: arXiv:2112.11687.
struct Squareplus {
  double b = 4;
  template <class F>
  F value(F x) const noexcept {
    const F root = std::sqrt(x * x + static_cast<F>(b));
    return x < 0 ? static_cast<F>(b) / (2 * (root - x)) : (x + root) / 2;
  }
  template <class F>
  F gradient(F x, F d_y) const noexcept {
    const F root = std::sqrt(x * x + static_cast<F>(b));
    return d_y * (value(x) / root);
  }
};

struct Softsign {
  template <class F>
  static F value(F x) noexcept {
    return x / (1 + std::abs(x));
  }
  template <class F>
  static F gradient(F x, F d_y) noexcept {
    const F size = 1 + std::abs(x);
    return d_y / (size * size);
  }
};

// ---- Straight pieces ---------------------------------------------------------------------------

struct HardTanh {
  template <class F>
  static F value(F x) noexcept {
    return x > 1 ? F{1} : x < -1 ? F{-1} : x;
  }
  template <class F>
  static F gradient(F x, F d_y) noexcept {
    return x > 1 || x < -1 ? F{0} : d_y;
  }
};

// x / 6 + 1 / 2, cut to [0, 1].
struct HardSigmoid {
  template <class F>
  static F value(F x) noexcept {
    const F y = x + 3;
    return (y < 0 ? F{0} : y > 6 ? F{6} : y) / 6;
  }
  template <class F>
  static F gradient(F x, F d_y) noexcept {
    return x > -3 && x < 3 ? d_y / 6 : F{0};
  }
};

struct HardSilu {
  template <class F>
  static F value(F x) noexcept {
    return x * HardSigmoid::value(x);
  }
  template <class F>
  static F gradient(F x, F d_y) noexcept {
    return d_y * HardSigmoid::value(x) + x * HardSigmoid::gradient(x, d_y);
  }
};

struct HardShrink {
  double threshold = 0.5;
  template <class F>
  F value(F x) const noexcept {
    return std::abs(x) > static_cast<F>(threshold) ? x : F{0};
  }
  template <class F>
  F gradient(F x, F d_y) const noexcept {
    return std::abs(x) > static_cast<F>(threshold) ? d_y : F{0};
  }
};

struct SoftShrink {
  double threshold = 0.5;
  template <class F>
  F value(F x) const noexcept {
    const auto t = static_cast<F>(threshold);
    return x > t ? x - t : x < -t ? x + t : F{0};
  }
  template <class F>
  F gradient(F x, F d_y) const noexcept {
    const auto t = static_cast<F>(threshold);
    return x > t || x < -t ? d_y : F{0};
  }
};

// 0, then (x + 1)^2 / 4 from -1 to 1, then x.
struct SparsePlus {
  template <class F>
  static F value(F x) noexcept {
    return x <= -1 ? F{0} : x >= 1 ? x : (x + 1) * (x + 1) / 4;
  }
  template <class F>
  static F gradient(F x, F d_y) noexcept {
    return x <= -1 ? F{0} : x >= 1 ? d_y : d_y * ((x + 1) / 2);
  }
};

// (x + 1) / 2, cut to [0, 1]; at the ends half of either side's slope.
struct SparseSigmoid {
  template <class F>
  static F value(F x) noexcept {
    return x < -1 ? F{0} : x > 1 ? F{1} : (x + 1) / 2;
  }
  template <class F>
  static F gradient(F x, F d_y) noexcept {
    if (x < -1 || x > 1) return F{0};
    return x == -1 || x == 1 ? d_y / 4 : d_y / 2;
  }
};

// x (1 + tanh(u)) / 2 with u = sqrt(2 / pi) (x + 0.044715 x^3), which is x sigmoid(2 u).
// Source: Hendrycks & Gimpel 2016, arXiv:1606.08415.
struct GeluTanh {
  template <class F>
  static constexpr F kSlope = static_cast<F>(1.59576912160573071176);  // 2 sqrt(2 / pi)
  template <class F>
  static constexpr F kCubic = static_cast<F>(0.044715);
  template <class F>
  static constexpr F kFar = 30;  // from here on the function is 0 or x

  template <class F>
  static F value(F x) noexcept {
    return x / (1 + std::exp(-argument(x)));
  }
  template <class F>
  static F gradient(F x, F d_y) noexcept {
    if (std::abs(x) > kFar<F>) return x > 0 ? d_y : F{0};
    const F u = argument(x);
    const F slope = kSlope<F> * (1 + 3 * kCubic<F> * x * x);
    return d_y * (Sigmoid::value(u) + x * Sigmoid::gradient(u, slope));
  }

 private:
  template <class F>
  static F argument(F x) noexcept {
    return kSlope<F> * x * (1 + kCubic<F> * x * x);
  }
};

}  // namespace grouphead::ops::activations
