// The algorithms that look at a whole parameter.

#include <cmath>

#include "ops/arithmetic.h"
#include "ops/linear.h"
#include "ops/optimizer_algorithms.h"
#include "ops/optimizer_elements.h"
#include "ops/reduction.h"
#include "ops/strided.h"

namespace grouphead::ops {
namespace {

double norm_of(Context& ctx, ConstView x) { return std::sqrt(sum_of_squares(ctx, x)); }

double root_mean_square(Context& ctx, ConstView x) {
  return std::sqrt(sum_of_squares(ctx, x) / static_cast<double>(std::max<Index>(1, x.size())));
}

/// w -= decay w, g = scale g.
void prepare(Context& ctx, const OptimizerStep& step, View gradient, View w) {
  if (step.gradient_scale != 1) scale(ctx, gradient, step.gradient_scale, gradient);
  if (step.decay != 0) blend(ctx, 0, w, 1 - step.decay, w);
}

}  // namespace

void lamb(Context& ctx, const OptimizerStep& step, const LambNumbers& n, View gradient, View w,
          View m, View v) {
  prepare(ctx, step, gradient, w);
  for_elements(ctx, "lamb", w, {gradient, m, v}, [&](auto zero, Index begin, Index end) {
    using F = decltype(zero);
    for (Index i = begin; i < end; ++i) {
      F& g = gradient.data<F>()[i];
      F& first = m.data<F>()[i];
      F& second = v.data<F>()[i];
      first += (g - first) * static_cast<F>(1 - n.beta_1);
      second += (g * g - second) * static_cast<F>(1 - n.beta_2);
      const F size = std::sqrt(second / static_cast<F>(n.v_correction)) + static_cast<F>(n.epsilon);
      g = first / static_cast<F>(n.m_correction) / size;
    }
  });
  const double w_norm = norm_of(ctx, w);
  const double g_norm = norm_of(ctx, gradient);
  const double ratio = w_norm > 0 && g_norm > 0 ? w_norm / g_norm : 1;
  blend(ctx, -ratio * step.learning_rate, gradient, 1, w);
}

namespace {

/// The step of g by the moments of rows and columns: g / sqrt(v), into g.
template <class F>
void factored(Context& ctx, const AdafactorNumbers& n, View gradient, View rows, View columns,
              View v) {
  const Shape& shape = gradient.shape();
  const Index width = shape.back();
  const Index height = shape[shape.rank() - 2];
  const Index size = height * width;
  if (size == 0) return;
  const auto keep = static_cast<F>(n.beta_2);
  const F take = 1 - keep;
  ctx.impl().parallel_for(gradient.size() / size, [&](Index matrix, int) {
    F* g = gradient.data<F>() + matrix * size;
    F* square = v.data<F>() + matrix * size;
    F* row = rows.data<F>() + matrix * height;
    F* column = columns.data<F>() + matrix * width;
    std::vector<double> sums(static_cast<std::size_t>(width), 0);
    double mean_row = 0;
    for (Index i = 0; i < height; ++i) {
      double sum = 0;
      for (Index j = 0; j < width; ++j) {
        const double regulated =
            static_cast<double>(g[i * width + j]) * g[i * width + j] + n.epsilon_1;
        sum += regulated;
        sums[static_cast<std::size_t>(j)] += regulated;
      }
      row[i] = keep * row[i] + take * static_cast<F>(sum / static_cast<double>(width));
      mean_row += row[i];
    }
    mean_row /= static_cast<double>(height);
    for (Index j = 0; j < width; ++j) {
      const double mean = sums[static_cast<std::size_t>(j)] / static_cast<double>(height);
      column[j] = keep * column[j] + take * static_cast<F>(mean);
    }
    for (Index i = 0; i < height; ++i) {
      const F factor = row[i] / static_cast<F>(mean_row);
      for (Index j = 0; j < width; ++j) {
        square[i * width + j] = factor * column[j];
        g[i * width + j] /= std::sqrt(square[i * width + j]);
      }
    }
  });
}

}  // namespace

void adafactor(Context& ctx, const OptimizerStep& step, const AdafactorNumbers& n, View gradient,
               View w, View rows, View columns, View v) {
  prepare(ctx, step, gradient, w);
  const double rate = std::min(step.learning_rate, n.largest_rate);
  const double alpha = std::max(n.epsilon_2, root_mean_square(ctx, w)) * rate;
  with_float_type("adafactor", "w", w, [&](auto zero) {
    using F = decltype(zero);
    require_elements("adafactor", "gradient", gradient, w.size(), kDtypeOf<F>);
    require_elements("adafactor", "v", v, w.size(), kDtypeOf<F>);
    if (rows.has_value()) {
      require_elements("adafactor", "rows", rows, rows.size(), kDtypeOf<F>);
      require_elements("adafactor", "columns", columns, columns.size(), kDtypeOf<F>);
      return factored<F>(ctx, n, gradient, rows, columns, v);
    }
    for_blocks(ctx, w.size(), kBlockElements, [&](Index begin, Index end) {
      for (Index i = begin; i < end; ++i) {
        F& g = gradient.data<F>()[i];
        F& square = v.data<F>()[i];
        const F regulated = g * g + static_cast<F>(n.epsilon_1);
        square = static_cast<F>(n.beta_2) * square + static_cast<F>(1 - n.beta_2) * regulated;
        g /= std::sqrt(square);
      }
    });
  });
  const double size = root_mean_square(ctx, gradient) / n.clip_threshold;
  blend(ctx, -alpha / (size > 1 ? size : 1), gradient, 1, w);
}

namespace {

Tensor transposed(Context& ctx, ConstView x) {
  Tensor y = ctx.tensor({x.dim(1), x.dim(0)}, x.dtype());
  constexpr std::array kOrder = {1, 0};
  copy_elements(ctx, permuted(x, kOrder), y);
  return y;
}

/// x, no wider than high, with singular values near 1. Source: Jordan et al. 2024, "Muon", by
/// Newton and Schulz's iteration.
void orthogonalize(Context& ctx, const MuonNumbers& n, Tensor& x) {
  const auto [a, b, c] = n.coefficients;
  scale(ctx, x, 1 / (norm_of(ctx, x) + 1e-7), x);
  const Index rows = x.dim(0);
  Tensor square = ctx.tensor({rows, rows}, x.dtype());
  Tensor fourth = ctx.tensor({rows, rows}, x.dtype());
  Tensor product = ctx.tensor(x.shape(), x.dtype());
  for (Index i = 0; i < n.iterations; ++i) {
    gemm(ctx, x, transposed(ctx, x), square);
    gemm(ctx, square, square, fourth);
    blend(ctx, b, square, c, fourth);
    gemm(ctx, fourth, x, product);
    blend(ctx, 1, product, a, x);
  }
}

}  // namespace

void muon(Context& ctx, const OptimizerStep& step, const MuonNumbers& n, View gradient, View w,
          View m) {
  prepare(ctx, step, gradient, w);
  blend(ctx, 1, gradient, n.momentum, m);
  if (n.nesterov) {
    blend(ctx, n.momentum, m, 1, gradient);
  } else {
    copy(m, gradient);
  }
  const bool is_high = w.dim(0) > w.dim(1);
  Tensor x = ctx.tensor(w.shape(), w.dtype());
  if (is_high) {
    x = transposed(ctx, gradient);
  } else {
    copy(gradient, x);
  }
  orthogonalize(ctx, n, x);
  if (is_high) x = transposed(ctx, x);
  blend(ctx, -step.learning_rate * n.factor, x, 1, w);
}

}  // namespace grouphead::ops
