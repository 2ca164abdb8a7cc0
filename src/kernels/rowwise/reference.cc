#include "kernels/rowwise/reference.h"

#include <cmath>
#include <limits>

namespace grouphead::kernels {
namespace {

template <class F>
void layer_norm_forward(const F* x, const F* gamma, const F* beta, double epsilon, Index rows,
                        Index width, F* y, F* mean, F* rstd) noexcept {
  for (Index r = 0; r < rows; ++r, x += width, y += width) {
    double sum = 0;
    for (Index j = 0; j < width; ++j) sum += x[j];
    const double mu = sum / static_cast<double>(width);
    double squares = 0;
    for (Index j = 0; j < width; ++j) squares += (x[j] - mu) * (x[j] - mu);
    const double scale = 1.0 / std::sqrt(squares / static_cast<double>(width) + epsilon);
    for (Index j = 0; j < width; ++j) {
      y[j] = static_cast<F>(gamma[j] * ((x[j] - mu) * scale) + beta[j]);
    }
    if (mean != nullptr) mean[r] = static_cast<F>(mu);
    if (rstd != nullptr) rstd[r] = static_cast<F>(scale);
  }
}

// With x^ = (x - mean) rstd and g = d_y gamma (from y = gamma x^ + beta):
//   d_x = rstd (g - mean(g) - x^ mean(g x^))
template <class F>
void layer_norm_backward(const F* x, const F* gamma, const F* mean, const F* rstd, const F* d_y,
                         bool add_to_d_x, Index rows, Index width, F* d_x, F* d_gamma,
                         F* d_beta) noexcept {
  const bool columns = d_gamma != nullptr;
  for (Index j = 0; columns && j < width; ++j) {
    d_gamma[j] = 0;
    d_beta[j] = 0;
  }
  for (Index r = 0; r < rows; ++r) {
    const F* row = x + r * width;
    const F* d_row = d_y + r * width;
    double sum_g = 0;
    double sum_gx = 0;
    for (Index j = 0; j < width; ++j) {
      const double normed = (static_cast<double>(row[j]) - mean[r]) * rstd[r];
      sum_g += static_cast<double>(d_row[j]) * gamma[j];
      sum_gx += static_cast<double>(d_row[j]) * gamma[j] * normed;
      if (!columns) continue;
      d_gamma[j] += static_cast<F>(d_row[j] * normed);
      d_beta[j] += d_row[j];
    }
    if (d_x == nullptr) continue;
    const double mean_g = sum_g / static_cast<double>(width);
    const double mean_gx = sum_gx / static_cast<double>(width);
    for (Index j = 0; j < width; ++j) {
      const double normed = (static_cast<double>(row[j]) - mean[r]) * rstd[r];
      const double d =
          rstd[r] * (static_cast<double>(d_row[j]) * gamma[j] - mean_g - normed * mean_gx);
      F& out = d_x[r * width + j];
      out = static_cast<F>(add_to_d_x ? out + d : d);
    }
  }
}

constexpr double kSqrtHalf = 0.70710678118654752440;
constexpr double kInvSqrtTwoPi = 0.39894228040143267794;

// Phi(x) by erfc: 1 + erf(x / sqrt 2) would lose the left tail.
double normal_cdf(double x) noexcept { return 0.5 * std::erfc(-x * kSqrtHalf); }

template <class F>
void gelu_forward(const F* x, Index count, F* y) noexcept {
  for (Index i = 0; i < count; ++i) y[i] = static_cast<F>(x[i] * normal_cdf(x[i]));
}

// (x Phi(x))' = Phi(x) + x phi(x)
template <class F>
void gelu_backward(const F* x, const F* d_y, Index count, F* d_x) noexcept {
  for (Index i = 0; i < count; ++i) {
    const double v = x[i];
    const double pdf = kInvSqrtTwoPi * std::exp(-0.5 * v * v);
    d_x[i] = static_cast<F>(d_y[i] * (normal_cdf(v) + v * pdf));
  }
}

template <class F>
void add(const F* a, const F* b, Index count, F* y) noexcept {
  for (Index i = 0; i < count; ++i) y[i] = a[i] + b[i];
}

template <class F>
void scale(const F* x, F a, Index count, F* y) noexcept {
  for (Index i = 0; i < count; ++i) y[i] = a * x[i];
}

template <class F>
double sum_of_squares(const F* x, Index count) noexcept {
  double sum = 0;
  for (Index i = 0; i < count; ++i) sum += static_cast<double>(x[i]) * x[i];
  return sum;
}

template <class F>
void dropout(const F* x, KeepRule rule, F scale, Index first, Index count, F* y) noexcept {
  for (Index i = 0; i < count; ++i) {
    y[i] = rule.keeps(static_cast<std::uint64_t>(first + i)) ? x[i] * scale : F{0};
  }
}

// Keras's order: the decay first, then the moments, then the step.
template <class F>
void adamw(const AdamWCoefficients<F>& step, const F* gradient, Index count, F* w, F* m,
           F* v) noexcept {
  for (Index i = 0; i < count; ++i) {
    const F g = gradient[i] * step.gradient_scale;
    const F decayed = w[i] - w[i] * step.decay;
    m[i] += (g - m[i]) * step.one_minus_beta_1;
    v[i] += (g * g - v[i]) * step.one_minus_beta_2;
    w[i] = decayed - m[i] * step.alpha / (std::sqrt(v[i]) + step.epsilon);
  }
}

template <class F>
void embedding_backward(const std::int32_t* tokens, const F* d_y, Index rows, Index columns,
                        Index width, F* d_table) noexcept {
  for (Index r = 0; r < rows; ++r) {
    F* d_row = d_table + tokens[r] * width;
    add(d_row, d_y + r * width, columns, d_row);
  }
}

// One pair: (a, b) becomes (a cos - b sin, a sin + b cos).
template <class F>
void turn(F cos, F sin, F& a, F& b) noexcept {
  const F turned = a * cos - b * sin;
  b = a * sin + b * cos;
  a = turned;
}

template <class F>
void rope_half(const F* cos, const F* sin, F sign, Index pairs, Index heads, Index head_stride,
               F* x) noexcept {
  for (Index h = 0; h < heads; ++h, x += head_stride) {
    for (Index i = 0; i < pairs; ++i) turn(cos[i], sign * sin[i], x[i], x[i + pairs]);
  }
}

template <class F>
void rope_interleaved(const F* cos, const F* sin, F sign, Index pairs, Index heads,
                      Index head_stride, F* x) noexcept {
  for (Index h = 0; h < heads; ++h, x += head_stride) {
    for (Index i = 0; i < pairs; ++i) turn(cos[i], sign * sin[i], x[2 * i], x[2 * i + 1]);
  }
}

template <class F>
double cross_entropy_forward(const F* logits, const std::int32_t* labels, Index rows, Index width,
                             F* lse) noexcept {
  double loss = 0;
  for (Index r = 0; r < rows; ++r, logits += width) {
    F max = -std::numeric_limits<F>::infinity();
    for (Index j = 0; j < width; ++j) max = logits[j] > max ? logits[j] : max;
    double sum = 0;  // a NaN logit is never the maximum: it enters here
    for (Index j = 0; j < width; ++j) sum += std::exp(static_cast<double>(logits[j]) - max);
    const double log_sum_exp = max + std::log(sum);
    if (lse != nullptr) lse[r] = static_cast<F>(log_sum_exp);
    loss += log_sum_exp - logits[labels[r]];
  }
  return loss;
}

// d loss / d logits[j] = softmax(logits)[j] - [j == label]
template <class F>
void cross_entropy_backward(const F* logits, const std::int32_t* labels, const F* lse, F scale,
                            Index rows, Index width, F* d_logits) noexcept {
  for (Index r = 0; r < rows; ++r, logits += width, d_logits += width) {
    for (Index j = 0; j < width; ++j) {
      const double p = std::exp(static_cast<double>(logits[j]) - lse[r]);
      d_logits[j] = static_cast<F>((j == labels[r] ? p - 1 : p) * scale);
    }
  }
}

template <class F>
constexpr RowwiseKernels<F> kReference = {
    .layer_norm_forward = layer_norm_forward<F>,
    .layer_norm_backward = layer_norm_backward<F>,
    .gelu_forward = gelu_forward<F>,
    .gelu_backward = gelu_backward<F>,
    .add = add<F>,
    .scale = scale<F>,
    .sum_of_squares = sum_of_squares<F>,
    .dropout = dropout<F>,
    .adamw = adamw<F>,
    .embedding_backward = embedding_backward<F>,
    .rope_half = rope_half<F>,
    .rope_interleaved = rope_interleaved<F>,
    .cross_entropy_forward = cross_entropy_forward<F>,
    .cross_entropy_backward = cross_entropy_backward<F>,
};

}  // namespace

template <>
const RowwiseKernels<float>& rowwise_reference<float>() noexcept {
  return kReference<float>;
}

template <>
const RowwiseKernels<double>& rowwise_reference<double>() noexcept {
  return kReference<double>;
}

}  // namespace grouphead::kernels
