#include "ops/row_losses.h"

#include <cmath>

#include "ops/loss.h"
#include "ops/loss_rows.h"

namespace grouphead::ops {
namespace {

template <class F>
F softplus(F x) noexcept {
  return std::max(x, F{0}) + std::log1p(std::exp(-std::abs(x)));
}
template <class F>
F binary_from_logits(F x, F t, F* d) noexcept {
  if (d != nullptr) *d = (1 - t) * loss_sigmoid(x) - t * loss_sigmoid(-x);
  return t * softplus(-x) + (1 - t) * softplus(x);
}

template <class F>
F binary_from_probability(F x, F t, F* d) noexcept {
  const auto [p, is_inside] = clip_probability(x);
  if (d != nullptr) *d = is_inside ? (1 - t) / (1 - p) - t / p : F{0};
  return -(t * std::log(p) + (1 - t) * std::log(1 - p));
}

template <class F>
F categorical_from_logits(const F* x, const F* t, const CrossentropyOptions& options, Index width,
                          F weight, F* d) noexcept {
  const F highest = *std::max_element(x, x + width);
  F sum = 0;
  for (Index i = 0; i < width; ++i) sum += std::exp(x[i] - highest);
  const F lse = highest + std::log(sum);
  F value = 0;
  F targets = 0;
  for (Index i = 0; i < width; ++i) {
    const F target =
        t[i] * static_cast<F>(options.target_scale) + static_cast<F>(options.target_shift);
    value -= target * (x[i] - lse);
    targets += target;
    if (d != nullptr) d[i] = target;
  }
  if (d == nullptr) return value;
  for (Index i = 0; i < width; ++i) d[i] = weight * (targets * std::exp(x[i] - lse) - d[i]);
  return value;
}

// p = x / sum(x). d_x = (d_p - sum(d_p p)) / sum(x), d_p = -t / p.
template <class F>
F categorical_from_probabilities(const F* x, const F* t, const CrossentropyOptions& options,
                                 Index width, F weight, F* d) noexcept {
  F sum = 0;
  for (Index i = 0; i < width; ++i) sum += x[i];
  F value = 0;
  F mean = 0;
  for (Index i = 0; i < width; ++i) {
    const F target =
        t[i] * static_cast<F>(options.target_scale) + static_cast<F>(options.target_shift);
    const auto [p, is_inside] = clip_probability(x[i] / sum);
    value -= target * std::log(p);
    const F d_p = is_inside ? -target / p : F{0};
    mean += d_p * (x[i] / sum);
    if (d != nullptr) d[i] = d_p;
  }
  if (d == nullptr) return value;
  for (Index i = 0; i < width; ++i) d[i] = weight * (d[i] - mean) / sum;
  return value;
}

template <class F>
void sparse_from_probabilities(Context& ctx, const LossRows& rows) {
  const Rows size = rows_of("loss", "prediction", rows.prediction);
  const auto* labels = rows.target.data<std::int32_t>();
  const auto* weights = rows.weights.has_value() ? rows.weights.data<double>() : nullptr;
  F* values = rows.values.data<F>();
  for_row_blocks(ctx, size, [&](Index begin, Index end) {
    for (Index r = begin; r < end; ++r) {
      const F* x = rows.prediction.data<F>() + r * size.width;
      F sum = 0;
      for (Index i = 0; i < size.width; ++i) sum += x[i];
      const F probability = x[labels[r]] / sum;
      const auto [p, is_inside] = clip_probability(probability);
      values[r] = -std::log(p);
      if (!rows.d_prediction.has_value()) continue;
      F* d = rows.d_prediction.data<F>() + r * size.width;
      const auto weight = static_cast<F>(weights != nullptr ? weights[r] : rows.scale);
      const F d_p = is_inside && weight != 0 ? -weight / p : F{0};
      std::fill_n(d, size.width, d_p != 0 ? -d_p * probability / sum : F{0});
      if (d_p != 0) d[labels[r]] += d_p / sum;
    }
  });
}

// The kernels' fused softmax: the log-sum-exp of a row is all that the gradient needs.
template <class F>
void sparse_from_logits(Context& ctx, const LossRows& rows) {
  const View lse = rows.values;
  softmax_cross_entropy_forward(ctx, rows.prediction, rows.target, lse);
  if (rows.d_prediction.has_value()) {
    softmax_cross_entropy_backward(ctx, rows.prediction, rows.target, lse,
                                   rows.weights.has_value() ? RowScale(rows.weights) : rows.scale,
                                   rows.d_prediction);
  }
  const Index width = rows.prediction.shape().back();
  const auto* labels = rows.target.data<std::int32_t>();
  F* values = rows.values.data<F>();
  for (Index r = 0; r < lse.size(); ++r) {
    values[r] -= rows.prediction.data<F>()[r * width + labels[r]];
  }
}

}  // namespace

void error_loss(Context& ctx, const LossRows& rows, ErrorNorm norm, double delta) {
  check_loss_rows("error_loss", rows, rows.prediction.size(), rows.prediction.dtype());
  with_float_type("error_loss", "prediction", rows.prediction, [&](auto zero) {
    using F = decltype(zero);
    const auto limit = static_cast<F>(delta);
    const auto term = [&](F e, F& d) -> F {
      const F size = std::abs(e);
      const F sign = e > 0 ? F{1} : e < 0 ? F{-1} : e;  // NaN stays NaN
      if (norm == ErrorNorm::squared) return d = 2 * e, e * e;
      if (norm == ErrorNorm::absolute) return d = sign, size;
      if (size <= limit) return d = e, e * e / 2;
      return d = limit * sign, limit * size - limit * limit / 2;
    };
    for_loss_rows<F>(ctx, rows, [&](const F* x, const F* t, Index width, F weight, F* d) {
      F sum = 0;
      for (Index i = 0; i < width; ++i) {
        F slope;
        sum += term(x[i] - t[i], slope);
        if (d != nullptr) d[i] = weight * slope / static_cast<F>(width);
      }
      return sum / static_cast<F>(width);
    });
  });
}

void binary_cross_entropy(Context& ctx, const LossRows& rows, const CrossentropyOptions& options) {
  check_loss_rows("binary_cross_entropy", rows, rows.prediction.size(), rows.prediction.dtype());
  with_float_type("binary_cross_entropy", "prediction", rows.prediction, [&](auto zero) {
    using F = decltype(zero);
    for_loss_rows<F>(ctx, rows, [&](const F* x, const F* t, Index width, F weight, F* d) {
      F sum = 0;
      for (Index i = 0; i < width; ++i) {
        const F target =
            t[i] * static_cast<F>(options.target_scale) + static_cast<F>(options.target_shift);
        F* slope = d != nullptr ? d + i : nullptr;
        sum += options.from_logits ? binary_from_logits(x[i], target, slope)
                                   : binary_from_probability(x[i], target, slope);
        if (d != nullptr) d[i] *= weight / static_cast<F>(width);
      }
      return sum / static_cast<F>(width);
    });
  });
}

void categorical_cross_entropy(Context& ctx, const LossRows& rows,
                               const CrossentropyOptions& options) {
  check_loss_rows("categorical_cross_entropy", rows, rows.prediction.size(),
                  rows.prediction.dtype());
  with_float_type("categorical_cross_entropy", "prediction", rows.prediction, [&](auto zero) {
    using F = decltype(zero);
    for_loss_rows<F>(ctx, rows, [&](const F* x, const F* t, Index width, F weight, F* d) {
      return options.from_logits ? categorical_from_logits(x, t, options, width, weight, d)
                                 : categorical_from_probabilities(x, t, options, width, weight, d);
    });
  });
}

void sparse_cross_entropy(Context& ctx, const LossRows& rows, bool from_logits) {
  constexpr std::string_view kName = "sparse_cross_entropy";
  const Rows size = rows_of(kName, "prediction", rows.prediction);
  check_loss_rows(kName, rows, size.count, Dtype::i32);
  require_indices(kName, "target", rows.target, size.width);
  with_float_type(kName, "prediction", rows.prediction, [&](auto zero) {
    using F = decltype(zero);
    from_logits ? sparse_from_logits<F>(ctx, rows) : sparse_from_probabilities<F>(ctx, rows);
  });
}

}  // namespace grouphead::ops
