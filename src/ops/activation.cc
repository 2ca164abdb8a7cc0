#include "ops/activation.h"

#include <cmath>
#include <numeric>
#include <vector>

#include "kernels/rowwise/saturating.h"
#include "ops/activation_functions.h"
#include "ops/reduction.h"
#include "ops/rowwise.h"
#include "ops/strided.h"

namespace grouphead::ops {
namespace {

/// body(function) for a function of each element alone.
template <class Body>
void with_function(const Activation& activation, const Body& body) {
  namespace f = activations;
  const auto& [first, second, third] = activation.numbers();
  switch (activation) {
    case Activation::relu:
      if (first == 0 && third == 0 && std::isinf(second)) return body(f::Relu{});
      if (third == 0 && std::isinf(second)) return body(f::LeakyRelu{first});
      return body(f::GeneralRelu{first, second, third});
    case Activation::leaky_relu:
      return body(f::LeakyRelu{first});
    case Activation::gelu_tanh:
      return body(f::GeluTanh{});
    case Activation::silu:
      return body(f::Silu{});
    case Activation::tanh:
      return body(f::Tanh{});
    case Activation::sigmoid:
      return body(f::Sigmoid{});
    case Activation::elu:
      return body(f::Elu{first});
    case Activation::selu:
      return body(f::Selu{});
    case Activation::softplus:
      return body(f::Softplus{});
    case Activation::exponential:
      return body(f::Exponential{});
    case Activation::celu:
      return body(f::Celu{first});
    case Activation::hard_shrink:
      return body(f::HardShrink{first});
    case Activation::hard_sigmoid:
      return body(f::HardSigmoid{});
    case Activation::hard_silu:
      return body(f::HardSilu{});
    case Activation::hard_tanh:
      return body(f::HardTanh{});
    case Activation::log_sigmoid:
      return body(f::LogSigmoid{});
    case Activation::mish:
      return body(f::Mish{});
    case Activation::relu6:
      return body(f::GeneralRelu{0, 6, 0});
    case Activation::soft_shrink:
      return body(f::SoftShrink{first});
    case Activation::softsign:
      return body(f::Softsign{});
    case Activation::sparse_plus:
      return body(f::SparsePlus{});
    case Activation::sparse_sigmoid:
      return body(f::SparseSigmoid{});
    case Activation::squareplus:
      return body(f::Squareplus{first});
    case Activation::tanh_shrink:
      return body(f::TanhShrink{});
    case Activation::linear:
    case Activation::gelu:
    case Activation::softmax:
    case Activation::log_softmax:
    case Activation::sparsemax:
      return;  // not of each element alone, or with kernels of their own
  }
}

using Kernels = kernels::SaturatingKernels;

struct KernelPair {
  Kernels::Function* forward;  // null: none
  Kernels::Gradient* backward;
};

/// The kernels of an activation on f32.
KernelPair kernels_of(const Context& ctx, const Activation& activation) noexcept {
  const Kernels& table = kernels::saturating_kernels(static_cast<kernels::Level>(ctx.isa()));
  switch (activation) {
    case Activation::sigmoid:
      return {table.sigmoid, table.sigmoid_gradient};
    case Activation::tanh:
      return {table.tanh, table.tanh_gradient};
    case Activation::silu:
      return {table.silu, table.silu_gradient};
    case Activation::gelu_tanh:
      return {table.gelu_tanh, table.gelu_tanh_gradient};
    default:
      return {nullptr, nullptr};
  }
}

void run_forward(Context& ctx, Kernels::Function* kernel, ConstView x, View y) {
  require_elements("activation", "x", x, y.size(), Dtype::f32);
  require_elements("activation", "y", y, x.size(), Dtype::f32);
  const float* in = x.data<float>();
  float* out = y.data<float>();
  for_blocks(ctx, y.size(), kBlockElements,
             [&](Index begin, Index end) { kernel(in + begin, end - begin, out + begin); });
}

void run_backward(Context& ctx, Kernels::Gradient* kernel, ConstView x, ConstView d_y, View d_x) {
  require_elements("activation_backward", "x", x, x.size(), Dtype::f32);
  require_elements("activation_backward", "d_y", d_y, x.size(), Dtype::f32);
  require_elements("activation_backward", "d_x", d_x, x.size(), Dtype::f32);
  const float* in = x.data<float>();
  const float* d_out = d_y.data<float>();
  float* d_in = d_x.data<float>();
  for_blocks(ctx, x.size(), kBlockElements, [&](Index begin, Index end) {
    kernel(in + begin, d_out + begin, end - begin, d_in + begin);
  });
}

template <class Function>
void map_forward(Context& ctx, const Function& function, ConstView x, View y) {
  with_float_type("activation", "x", x, [&](auto zero) {
    using F = decltype(zero);
    require_elements("activation", "x", x, y.size(), kDtypeOf<F>);
    require_elements("activation", "y", y, x.size(), kDtypeOf<F>);
    const F* in = x.data<F>();
    F* out = y.data<F>();
    for_blocks(ctx, y.size(), kBlockElements, [&](Index begin, Index end) {
      for (Index i = begin; i < end; ++i) out[i] = function.value(in[i]);
    });
  });
}

template <class Function>
void map_backward(Context& ctx, const Function& function, ConstView x, ConstView d_y, View d_x) {
  with_float_type("activation_backward", "x", x, [&](auto zero) {
    using F = decltype(zero);
    require_elements("activation_backward", "x", x, x.size(), kDtypeOf<F>);
    require_elements("activation_backward", "d_y", d_y, x.size(), kDtypeOf<F>);
    require_elements("activation_backward", "d_x", d_x, x.size(), kDtypeOf<F>);
    const F* in = x.data<F>();
    const F* d_out = d_y.data<F>();
    F* d_in = d_x.data<F>();
    for_blocks(ctx, x.size(), kBlockElements, [&](Index begin, Index end) {
      for (Index i = begin; i < end; ++i) d_in[i] = function.gradient(in[i], d_out[i]);
    });
  });
}

// ---- Rows --------------------------------------------------------------------------------------

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

// y = x - max - log(sum(exp(x - max)))
template <class F>
void log_softmax_row(const F* x, Index width, F* y) noexcept {
  const F max = *std::max_element(x, x + width);
  double sum = 0;
  for (Index i = 0; i < width; ++i) sum += std::exp(x[i] - max);
  const auto log_sum = static_cast<F>(std::log(sum));
  for (Index i = 0; i < width; ++i) y[i] = x[i] - max - log_sum;
}

template <class F>
void log_softmax_gradient_row(const F* y, const F* d_y, Index width, F* d_x) noexcept {
  double sum = 0;
  for (Index i = 0; i < width; ++i) sum += d_y[i];
  for (Index i = 0; i < width; ++i) d_x[i] = d_y[i] - std::exp(y[i]) * static_cast<F>(sum);
}

/// The row's numbers from the largest on, how many of them are above the threshold of Martins &
/// Astudillo 2016, arXiv:1602.02068, algorithm 1, and Keras's tau, which takes the sum of their
/// partial sums in the place of the last of these.
struct Support {
  std::vector<Index> order;
  Index count = 0;
  double tau = 0;
};

template <class F>
Support support_of(const F* x, Index width) {
  Support support{.order = std::vector<Index>(static_cast<std::size_t>(width))};
  std::iota(support.order.begin(), support.order.end(), Index{0});
  std::stable_sort(support.order.begin(), support.order.end(), [x](Index a, Index b) {
    return x[a] > x[b] || (std::isnan(x[a]) && !std::isnan(x[b]));
  });
  double sum = 0;
  double total = 0;
  for (const Index place : support.order) {
    sum += x[place];
    if (!(x[place] - (sum - 1) / static_cast<double>(support.count + 1) > 0)) break;
    ++support.count;
    total += sum;
  }
  support.tau = (total - 1) / static_cast<double>(support.count);
  return support;
}

// max(x - tau, 0)
template <class F>
void sparsemax_row(const F* x, Index width, F* y) {
  const auto tau = static_cast<F>(support_of(x, width).tau);
  for (Index i = 0; i < width; ++i) {
    const F over = x[i] - tau;
    y[i] = over < 0 ? F{0} : over;
  }
}

// Number j of the support is in count - j of the partial sums.
template <class F>
void sparsemax_gradient_row(const F* x, const F* d_y, Index width, F* d_x) {
  const Support support = support_of(x, width);
  const auto tau = static_cast<F>(support.tau);
  double sum = 0;
  for (Index i = 0; i < width; ++i) {
    const F over = x[i] - tau;
    d_x[i] = over > 0 ? d_y[i] : over < 0 ? F{0} : d_y[i] / 2;
    sum += d_x[i];
  }
  for (Index j = 0; j < support.count; ++j) {
    const double share =
        static_cast<double>(support.count - j) / static_cast<double>(support.count);
    d_x[support.order[static_cast<std::size_t>(j)]] -= static_cast<F>(sum * share);
  }
}

/// row(x, width, y) of each row; `row` is a pair of functions of float and of double.
template <class Row>
void rows_forward(Context& ctx, std::string_view name, ConstView x, View y, const Row& row) {
  const Rows rows = rows_of(name, "x", x);
  with_float_type(name, "x", x, [&](auto zero) {
    using F = decltype(zero);
    require_elements(name, "y", y, x.size(), kDtypeOf<F>);
    for_row_blocks(ctx, rows, [&](Index begin, Index end) {
      for (Index r = begin; r < end; ++r) {
        row(x.data<F>() + r * rows.width, rows.width, y.data<F>() + r * rows.width);
      }
    });
  });
}

/// row(y, d_y, width, d_x) of each row, y the result or, for sparsemax, the argument.
template <class Row>
void rows_backward(Context& ctx, std::string_view name, ConstView y, ConstView d_y, View d_x,
                   const Row& row) {
  const Rows rows = rows_of(name, "y", y);
  with_float_type(name, "y", y, [&](auto zero) {
    using F = decltype(zero);
    require_elements(name, "d_y", d_y, y.size(), kDtypeOf<F>);
    require_elements(name, "d_x", d_x, y.size(), kDtypeOf<F>);
    for_row_blocks(ctx, rows, [&](Index begin, Index end) {
      for (Index r = begin; r < end; ++r) {
        const Index at = r * rows.width;
        row(y.data<F>() + at, d_y.data<F>() + at, rows.width, d_x.data<F>() + at);
      }
    });
  });
}

void log_softmax_forward(Context& ctx, ConstView x, View y) {
  rows_forward(ctx, "log_softmax", x, y,
               [](const auto* in, Index width, auto* out) { log_softmax_row(in, width, out); });
}

void sparsemax_forward(Context& ctx, ConstView x, View y) {
  rows_forward(ctx, "sparsemax", x, y,
               [](const auto* in, Index width, auto* out) { sparsemax_row(in, width, out); });
}

}  // namespace

void activation_forward(Context& ctx, const Activation& activation, ConstView x, View y) {
  switch (activation) {
    case Activation::linear:
      if (x.raw() != y.raw()) copy(x, y);
      return;
    case Activation::gelu:
      return gelu_forward(ctx, x, y);
    case Activation::softmax:
      return softmax_forward(ctx, x, y);
    case Activation::log_softmax:
      return log_softmax_forward(ctx, x, y);
    case Activation::sparsemax:
      return sparsemax_forward(ctx, x, y);
    default:
      if (auto* const kernel = kernels_of(ctx, activation).forward;
          kernel != nullptr && x.dtype() == Dtype::f32) {
        return run_forward(ctx, kernel, x, y);
      }
      with_function(activation, [&](const auto& function) { map_forward(ctx, function, x, y); });
  }
}

void activation_backward(Context& ctx, const Activation& activation, ConstView x, ConstView d_y,
                         View d_x) {
  Tensor y;
  switch (activation) {
    case Activation::linear:
      if (d_y.raw() != d_x.raw()) copy(d_y, d_x);
      return;
    case Activation::gelu:
      return gelu_backward(ctx, x, d_y, d_x);
    case Activation::softmax:
      y = ctx.tensor(x.shape(), x.dtype());
      softmax_forward(ctx, x, y);
      return softmax_backward(ctx, y, d_y, d_x);
    case Activation::log_softmax:
      y = ctx.tensor(x.shape(), x.dtype());
      log_softmax_forward(ctx, x, y);
      return rows_backward(ctx, "log_softmax_backward", y, d_y, d_x,
                           [](const auto* out, const auto* d_out, Index width, auto* d_in) {
                             log_softmax_gradient_row(out, d_out, width, d_in);
                           });
    case Activation::sparsemax:
      return rows_backward(ctx, "sparsemax_backward", x, d_y, d_x,
                           [](const auto* in, const auto* d_out, Index width, auto* d_in) {
                             sparsemax_gradient_row(in, d_out, width, d_in);
                           });
    default:
      if (auto* const kernel = kernels_of(ctx, activation).backward;
          kernel != nullptr && x.dtype() == Dtype::f32) {
        return run_backward(ctx, kernel, x, d_y, d_x);
      }
      with_function(activation,
                    [&](const auto& function) { map_backward(ctx, function, x, d_y, d_x); });
  }
}

void softmax_forward(Context& ctx, ConstView x, View y) {
  rows_forward(ctx, "softmax", x, y,
               [](const auto* in, Index width, auto* out) { softmax_row(in, width, out); });
}

void softmax_backward(Context& ctx, ConstView y, ConstView d_y, View d_x) {
  rows_backward(ctx, "softmax_backward", y, d_y, d_x,
                [](const auto* out, const auto* d_out, Index width, auto* d_in) {
                  softmax_gradient_row(out, d_out, width, d_in);
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

namespace {

/// body(F{}, alpha repeated to x's shape), of operands that belong together.
template <class Body>
void with_prelu(std::string_view name, ConstView x, ConstView alpha, ConstView y,
                const Body& body) {
  with_float_type(name, "x", x, [&](auto zero) {
    using F = decltype(zero);
    require_elements(name, "x", x, x.size(), kDtypeOf<F>);
    require_elements(name, "y", y, x.size(), kDtypeOf<F>);
    require_elements(name, "alpha", alpha, alpha.size(), kDtypeOf<F>);
    body(zero, broadcast_to(name, alpha, x.shape()));
  });
}

}  // namespace

void prelu_forward(Context& ctx, ConstView x, ConstView alpha, View y) {
  with_prelu("prelu", x, alpha, y, [&](auto zero, const ConstView& slopes) {
    using F = decltype(zero);
    const Walk<2> walk(x.shape(), {x.strides(), slopes.strides()});
    for_runs(ctx, walk, [&](const auto& at, const auto& by, Index count) {
      const F* in = x.data<F>() + at[0];
      const F* slope = slopes.data<F>() + at[1];
      F* out = y.data<F>() + at[0];
      for (Index i = 0; i < count; ++i) {
        out[i * by[0]] = in[i * by[0]] < 0 ? slope[i * by[1]] * in[i * by[0]] : in[i * by[0]];
      }
    });
  });
}

void prelu_backward(Context& ctx, ConstView x, ConstView alpha, ConstView d_y, View d_x,
                    View d_alpha) {
  with_prelu("prelu_backward", x, alpha, d_y, [&](auto zero, const ConstView& slopes) {
    using F = decltype(zero);
    Tensor parts = ctx.tensor(x.shape(), kDtypeOf<F>);  // of d_alpha
    const Walk<2> walk(x.shape(), {x.strides(), slopes.strides()});
    for_runs(ctx, walk, [&](const auto& at, const auto& by, Index count) {
      const F* in = x.data<F>() + at[0];
      const F* slope = slopes.data<F>() + at[1];
      const F* d_out = d_y.data<F>() + at[0];
      F* d_in = d_x.has_value() ? d_x.data<F>() + at[0] : nullptr;
      F* part = parts.data<F>() + at[0];
      for (Index j = 0; j < count; ++j) {
        const Index i = j * by[0];
        part[i] = in[i] < 0 ? d_out[i] * in[i] : F{0};
        const F factor = in[i] < 0 ? slope[j * by[1]] : in[i] > 0 ? F{1} : F{0};
        if (d_in != nullptr) d_in[i] += d_out[i] * factor;
      }
    });
    if (d_alpha.has_value()) sum_to(ctx, parts, 1, Write::add, d_alpha);
  });
}

}  // namespace grouphead::ops
