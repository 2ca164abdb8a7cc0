// Cross entropies with factors. Sources: Lin et al. 2017, arXiv:1708.02002; Zhang & Sabuncu 2018,
// arXiv:1805.07836.

#include <vector>

#include "ops/loss_rows.h"

namespace grouphead::ops {
namespace {

template <class F>
F binary_focal(F x, F t, const FocalOptions& options, F* slope) noexcept {
  const F p = options.crossentropy.from_logits ? loss_sigmoid(x) : x;
  const auto [clipped, is_inside] = clip_probability(p);
  const F entropy = -(t * std::log(clipped) + (1 - t) * std::log(1 - clipped));
  const F missed = 1 - (t * p + (1 - t) * (1 - p));
  const auto gamma = static_cast<F>(options.gamma);
  const auto alpha = static_cast<F>(options.alpha);
  const F weight = options.is_balanced ? t * alpha + (1 - t) * (1 - alpha) : F{1};
  const F factor = std::pow(missed, gamma);
  if (slope != nullptr) {
    const F d_entropy = is_inside ? (1 - t) / (1 - clipped) - t / clipped : F{0};
    const F d_factor = gamma * std::pow(missed, gamma - 1) * (1 - 2 * t);
    *slope = weight * (d_factor * entropy + factor * d_entropy);
    if (options.crossentropy.from_logits) *slope *= p * (1 - p);
  }
  return weight * factor * entropy;
}

template <class F>
F target_of(F t, const FocalOptions& options) noexcept {
  return t * static_cast<F>(options.crossentropy.target_scale) +
         static_cast<F>(options.crossentropy.target_shift);
}

// q = softmax(x) or x; p = q / sum(q).
template <class F>
F categorical_focal(const F* x, const F* t, const FocalOptions& options, Index width, F weight,
                    F* d) {
  std::vector<F> q(x, x + width);
  if (options.crossentropy.from_logits) {
    const F highest = *std::max_element(x, x + width);
    F sum = 0;
    for (F& number : q) sum += number = std::exp(number - highest);
    for (F& number : q) number /= sum;
  }
  F sum = 0;
  for (const F number : q) sum += number;
  const auto gamma = static_cast<F>(options.gamma);
  const auto alpha = static_cast<F>(options.alpha);
  F value = 0;
  F along = 0;  // sum of d_p p
  for (Index i = 0; i < width; ++i) {
    const F target = target_of(t[i], options);
    const F share = q[static_cast<std::size_t>(i)] / sum;
    const auto [p, is_inside] = clip_probability(share);
    const F entropy = -target * std::log(p);
    const F factor = alpha * std::pow(1 - p, gamma);
    value += factor * entropy;
    if (d == nullptr) continue;
    const F d_factor = -alpha * gamma * std::pow(1 - p, gamma - 1);
    d[i] = is_inside ? d_factor * entropy - factor * target / p : F{0};
    along += d[i] * share;
  }
  if (d == nullptr) return value;
  F mean = 0;  // of d_q, by q
  for (Index i = 0; i < width; ++i) {
    d[i] = weight * (d[i] - along) / sum;
    mean += d[i] * q[static_cast<std::size_t>(i)];
  }
  for (Index i = 0; options.crossentropy.from_logits && i < width; ++i) {
    d[i] = q[static_cast<std::size_t>(i)] * (d[i] - mean);
  }
  return value;
}

}  // namespace

void binary_focal_cross_entropy(Context& ctx, const LossRows& rows, const FocalOptions& options) {
  constexpr std::string_view kName = "binary_focal_cross_entropy";
  check_loss_rows(kName, rows, rows.prediction.size(), rows.prediction.dtype());
  with_float_type(kName, "prediction", rows.prediction, [&](auto zero) {
    using F = decltype(zero);
    for_loss_rows<F>(ctx, rows, [&](const F* x, const F* t, Index width, F weight, F* d) {
      F sum = 0;
      for (Index i = 0; i < width; ++i) {
        F* slope = d != nullptr ? d + i : nullptr;
        sum += binary_focal(x[i], target_of(t[i], options), options, slope);
        if (d != nullptr) d[i] *= weight / static_cast<F>(width);
      }
      return sum / static_cast<F>(width);
    });
  });
}

void categorical_focal_cross_entropy(Context& ctx, const LossRows& rows,
                                     const FocalOptions& options) {
  constexpr std::string_view kName = "categorical_focal_cross_entropy";
  check_loss_rows(kName, rows, rows.prediction.size(), rows.prediction.dtype());
  with_float_type(kName, "prediction", rows.prediction, [&](auto zero) {
    using F = decltype(zero);
    for_loss_rows<F>(ctx, rows, [&](const F* x, const F* t, Index width, F weight, F* d) {
      return categorical_focal(x, t, options, width, weight, d);
    });
  });
}

void generalized_cross_entropy(Context& ctx, const LossRows& rows, double q) {
  constexpr std::string_view kName = "generalized_cross_entropy";
  const Rows size = rows_of(kName, "prediction", rows.prediction);
  check_loss_rows(kName, rows, size.count, Dtype::i32);
  require_indices(kName, "target", rows.target, size.width);
  with_float_type(kName, "prediction", rows.prediction, [&](auto zero) {
    using F = decltype(zero);
    const auto power = static_cast<F>(q);
    for_loss_rows<F, std::int32_t>(
        ctx, rows, [&](const F* x, const std::int32_t* label, Index width, F weight, F* d) {
          const F p = x[*label];
          if (d != nullptr) {
            std::fill_n(d, width, F{0});
            d[*label] = -weight * std::pow(p, power - 1);
          }
          return (1 - std::pow(p, power)) / power;
        });
  });
}

}  // namespace grouphead::ops
