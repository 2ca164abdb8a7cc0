#include "ops/activation.h"

#include <cmath>

#include "ops/rowwise.h"

namespace grouphead::ops {
namespace {

// Functions of one element: value(x), and gradient(x, d_y) = d_y value'(x).

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

// exp(x) - 1 below zero. Source: Clevert et al. 2015, arXiv:1511.07289, with alpha 1.
struct Elu {
  template <class F>
  static F value(F x) noexcept {
    return x < 0 ? std::expm1(x) : x;
  }
  template <class F>
  static F gradient(F x, F d_y) noexcept {
    return x < 0 ? d_y * std::exp(x) : d_y;
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
    return x < 0 ? kScale<F> * kAlpha<F> * std::expm1(x) : kScale<F> * x;
  }
  template <class F>
  static F gradient(F x, F d_y) noexcept {
    return x < 0 ? d_y * (kScale<F> * kAlpha<F> * std::exp(x)) : d_y * kScale<F>;
  }
};

struct LeakyRelu {
  template <class F>
  static constexpr F kSlope = static_cast<F>(0.2);
  template <class F>
  static F value(F x) noexcept {
    return x < 0 ? kSlope<F> * x : x;
  }
  template <class F>
  static F gradient(F x, F d_y) noexcept {
    return x < 0 ? kSlope<F> * d_y : d_y;
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

template <class Function>
void map_forward(Context& ctx, ConstView x, View y) {
  with_float_type("activation", "x", x, [&](auto zero) {
    using F = decltype(zero);
    require_elements("activation", "x", x, y.size(), kDtypeOf<F>);
    require_elements("activation", "y", y, x.size(), kDtypeOf<F>);
    const F* in = x.data<F>();
    F* out = y.data<F>();
    for_blocks(ctx, y.size(), kBlockElements, [&](Index begin, Index end) {
      for (Index i = begin; i < end; ++i) out[i] = Function::value(in[i]);
    });
  });
}

template <class Function>
void map_backward(Context& ctx, ConstView x, ConstView d_y, View d_x) {
  with_float_type("activation_backward", "x", x, [&](auto zero) {
    using F = decltype(zero);
    require_elements("activation_backward", "x", x, x.size(), kDtypeOf<F>);
    require_elements("activation_backward", "d_y", d_y, x.size(), kDtypeOf<F>);
    require_elements("activation_backward", "d_x", d_x, x.size(), kDtypeOf<F>);
    const F* in = x.data<F>();
    const F* d_out = d_y.data<F>();
    F* d_in = d_x.data<F>();
    for_blocks(ctx, x.size(), kBlockElements, [&](Index begin, Index end) {
      for (Index i = begin; i < end; ++i) d_in[i] = Function::gradient(in[i], d_out[i]);
    });
  });
}

// Sums in double. A NaN may be lost in the maximum: it enters by its own exponential.
template <class F>
void softmax_row(const F* x, Index width, F* y) noexcept {
  const F max = *std::max_element(x, x + width);
  double sum = 0;
  for (Index i = 0; i < width; ++i) {
    y[i] = std::exp(x[i] - max);
    sum += y[i];
  }
  const F inverse = static_cast<F>(1 / sum);
  for (Index i = 0; i < width; ++i) y[i] *= inverse;
}

template <class F>
void softmax_gradient_row(const F* y, const F* d_y, Index width, F* d_x) noexcept {
  double sum = 0;
  for (Index i = 0; i < width; ++i) sum += static_cast<double>(y[i]) * d_y[i];
  for (Index i = 0; i < width; ++i) d_x[i] = y[i] * (d_y[i] - static_cast<F>(sum));
}

}  // namespace

void activation_forward(Context& ctx, Activation activation, ConstView x, View y) {
  switch (activation) {
    case Activation::linear:
      if (x.raw() != y.raw()) copy(x, y);
      return;
    case Activation::relu:
      return map_forward<Relu>(ctx, x, y);
    case Activation::gelu:
      return gelu_forward(ctx, x, y);
    case Activation::gelu_tanh:
      return map_forward<GeluTanh>(ctx, x, y);
    case Activation::silu:
      return map_forward<Silu>(ctx, x, y);
    case Activation::tanh:
      return map_forward<Tanh>(ctx, x, y);
    case Activation::sigmoid:
      return map_forward<Sigmoid>(ctx, x, y);
    case Activation::elu:
      return map_forward<Elu>(ctx, x, y);
    case Activation::selu:
      return map_forward<Selu>(ctx, x, y);
    case Activation::leaky_relu:
      return map_forward<LeakyRelu>(ctx, x, y);
    case Activation::softplus:
      return map_forward<Softplus>(ctx, x, y);
    case Activation::exponential:
      return map_forward<Exponential>(ctx, x, y);
    case Activation::softmax:
      return softmax_forward(ctx, x, y);
  }
}

void activation_backward(Context& ctx, Activation activation, ConstView x, ConstView d_y,
                         View d_x) {
  switch (activation) {
    case Activation::linear:
      if (d_y.raw() != d_x.raw()) copy(d_y, d_x);
      return;
    case Activation::relu:
      return map_backward<Relu>(ctx, x, d_y, d_x);
    case Activation::gelu:
      return gelu_backward(ctx, x, d_y, d_x);
    case Activation::gelu_tanh:
      return map_backward<GeluTanh>(ctx, x, d_y, d_x);
    case Activation::silu:
      return map_backward<Silu>(ctx, x, d_y, d_x);
    case Activation::tanh:
      return map_backward<Tanh>(ctx, x, d_y, d_x);
    case Activation::sigmoid:
      return map_backward<Sigmoid>(ctx, x, d_y, d_x);
    case Activation::elu:
      return map_backward<Elu>(ctx, x, d_y, d_x);
    case Activation::selu:
      return map_backward<Selu>(ctx, x, d_y, d_x);
    case Activation::leaky_relu:
      return map_backward<LeakyRelu>(ctx, x, d_y, d_x);
    case Activation::softplus:
      return map_backward<Softplus>(ctx, x, d_y, d_x);
    case Activation::exponential:
      return map_backward<Exponential>(ctx, x, d_y, d_x);
    case Activation::softmax: {
      Tensor y = ctx.tensor(x.shape(), x.dtype());
      softmax_forward(ctx, x, y);
      return softmax_backward(ctx, y, d_y, d_x);
    }
  }
}

void softmax_forward(Context& ctx, ConstView x, View y) {
  const Rows rows = rows_of("softmax", "x", x);
  with_float_type("softmax", "x", x, [&](auto zero) {
    using F = decltype(zero);
    require_elements("softmax", "y", y, x.size(), kDtypeOf<F>);
    for_row_blocks(ctx, rows, [&](Index begin, Index end) {
      for (Index row = begin; row < end; ++row) {
        softmax_row(x.data<F>() + row * rows.width, rows.width, y.data<F>() + row * rows.width);
      }
    });
  });
}

void softmax_backward(Context& ctx, ConstView y, ConstView d_y, View d_x) {
  const Rows rows = rows_of("softmax_backward", "y", y);
  with_float_type("softmax_backward", "y", y, [&](auto zero) {
    using F = decltype(zero);
    require_elements("softmax_backward", "d_y", d_y, y.size(), kDtypeOf<F>);
    require_elements("softmax_backward", "d_x", d_x, y.size(), kDtypeOf<F>);
    for_row_blocks(ctx, rows, [&](Index begin, Index end) {
      for (Index row = begin; row < end; ++row) {
        const Index at = row * rows.width;
        softmax_gradient_row(y.data<F>() + at, d_y.data<F>() + at, rows.width, d_x.data<F>() + at);
      }
    });
  });
}

void gelu_forward(Context& ctx, ConstView x, View y) {
  with_float_type("gelu", "x", x, [&](auto zero) {
    using F = decltype(zero);
    require_elements("gelu", "x", x, y.size(), kDtypeOf<F>);
    require_elements("gelu", "y", y, x.size(), kDtypeOf<F>);
    const auto& kernels = rowwise_kernels<F>(ctx);
    for_blocks(ctx, y.size(), kBlockElements, [&](Index begin, Index end) {
      kernels.gelu_forward(x.data<F>() + begin, end - begin, y.data<F>() + begin);
    });
  });
}

void gelu_backward(Context& ctx, ConstView x, ConstView d_y, View d_x) {
  with_float_type("gelu_backward", "x", x, [&](auto zero) {
    using F = decltype(zero);
    require_elements("gelu_backward", "x", x, x.size(), kDtypeOf<F>);
    require_elements("gelu_backward", "d_y", d_y, x.size(), kDtypeOf<F>);
    require_elements("gelu_backward", "d_x", d_x, x.size(), kDtypeOf<F>);
    const auto& kernels = rowwise_kernels<F>(ctx);
    for_blocks(ctx, x.size(), kBlockElements, [&](Index begin, Index end) {
      kernels.gelu_backward(x.data<F>() + begin, d_y.data<F>() + begin, end - begin,
                            d_x.data<F>() + begin);
    });
  });
}

}  // namespace grouphead::ops
