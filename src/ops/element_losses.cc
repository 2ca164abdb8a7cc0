// Losses of regressions and of margins.

#include "ops/loss_rows.h"

namespace grouphead::ops {
namespace {

template <class F>
F sign(F x) noexcept {
  return x > 0 ? F{1} : x < 0 ? F{-1} : x;  // NaN stays NaN
}

/// The derivative of max(x, low) times 2: a tie has both sides.
template <class F>
F above(F x, F low) noexcept {
  return x > low ? F{2} : x < low ? F{0} : F{1};
}

/// value(x, t, slope) of one element.
template <class F>
struct Element {
  ElementLoss kind;
  bool is_binary;  // targets are 0 and 1

  F operator()(F x, F t, F& slope) const noexcept {
    constexpr F kEpsilon = static_cast<F>(kLossEpsilon);
    switch (kind) {
      case ElementLoss::percentage: {
        const F size = std::max(std::abs(t), kEpsilon);
        slope = 100 * sign(x - t) / size;
        return 100 * std::abs((t - x) / size);
      }
      case ElementLoss::logarithmic: {
        const F kept = std::max(x, kEpsilon);
        const F e = std::log(kept + 1) - std::log(std::max(t, kEpsilon) + 1);
        slope = e / (kept + 1) * above(x, kEpsilon);
        return e * e;
      }
      case ElementLoss::log_cosh: {
        const F e = std::abs(x - t);
        slope = std::tanh(x - t);
        return e + std::log1p(std::exp(-2 * e)) - static_cast<F>(0.69314718055994530942);
      }
      case ElementLoss::hinge:
      case ElementLoss::squared_hinge: {
        const F side = is_binary ? 2 * t - 1 : t;
        const F margin = 1 - side * x;
        const F over = std::max(margin, F{0});
        slope = -side * above(margin, F{0}) / 2;
        if (kind == ElementLoss::hinge) return over;
        slope *= 2 * over;
        return over * over;
      }
      case ElementLoss::poisson:
        slope = 1 - t / (x + kEpsilon);
        return x - t * std::log(x + kEpsilon);
    }
    return 0;
  }
};

template <class F>
bool all_binary(const ConstView& target) noexcept {
  const F* t = target.data<F>();
  return std::all_of(t, t + target.size(), [](F x) { return x == 0 || x == 1; });
}

// c = x . t / (|x| |t|); d_x = -(t / |t| - c x / |x|) / |x|, norms of 1e-7 at least.
template <class F>
F cosine_row(const F* x, const F* t, Index width, F weight, F* d) noexcept {
  double xx = 0;
  double tt = 0;
  double xt = 0;
  for (Index i = 0; i < width; ++i) {
    xx += static_cast<double>(x[i]) * x[i];
    tt += static_cast<double>(t[i]) * t[i];
    xt += static_cast<double>(x[i]) * t[i];
  }
  const bool is_cut = std::sqrt(xx) < kLossEpsilon;
  const double x_norm = is_cut ? kLossEpsilon : std::sqrt(xx);
  const double t_norm = std::max(std::sqrt(tt), kLossEpsilon);
  const double cosine = xt / (x_norm * t_norm);
  for (Index i = 0; d != nullptr && i < width; ++i) {
    const double along = is_cut ? 0 : cosine * static_cast<double>(x[i]) / x_norm;
    d[i] = static_cast<F>(-weight * (static_cast<double>(t[i]) / t_norm - along) / x_norm);
  }
  return static_cast<F>(-cosine);
}

template <class F>
F categorical_hinge_row(const F* x, const F* t, Index width, F weight, F* d) noexcept {
  F inside = 0;
  F highest = -std::numeric_limits<F>::infinity();
  for (Index i = 0; i < width; ++i) {
    inside += t[i] * x[i];
    highest = std::max(highest, (1 - t[i]) * x[i]);
  }
  const F margin = highest - inside + 1;
  if (d != nullptr) {
    F ties = 0;
    for (Index i = 0; i < width; ++i) ties += (1 - t[i]) * x[i] == highest ? F{1} : F{0};
    const F factor = weight * above(margin, F{0}) / 2;
    for (Index i = 0; i < width; ++i) {
      const F share = (1 - t[i]) * x[i] == highest ? (1 - t[i]) / ties : F{0};
      d[i] = factor * (share - t[i]);
    }
  }
  return std::max(margin, F{0});
}

template <class F>
F divergence_row(const F* x, const F* t, Index width, F weight, F* d) noexcept {
  constexpr F kLow = static_cast<F>(kLossEpsilon);
  F sum = 0;
  for (Index i = 0; i < width; ++i) {
    const F target = t[i] < kLow ? kLow : t[i] > 1 ? F{1} : t[i];
    const F p = x[i] < kLow ? kLow : x[i] > 1 ? F{1} : x[i];
    sum += target * std::log(target / p);
    if (d != nullptr) d[i] = -weight * target / p * above(x[i], kLow) * above(F{1}, x[i]) / 4;
  }
  return sum;
}

template <class F>
F overlap_row(const F* x, const F* t, Index width, F weight, F* d,
              const OverlapOptions& options) noexcept {
  double both = 0;
  double missed = 0;
  double extra = 0;
  for (Index i = 0; i < width; ++i) {
    both += static_cast<double>(t[i]) * x[i];
    missed += (1 - static_cast<double>(x[i])) * t[i];
    extra += static_cast<double>(x[i]) * (1 - static_cast<double>(t[i]));
  }
  const double size = both + missed * options.alpha + extra * options.beta + options.epsilon;
  for (Index i = 0; d != nullptr && i < width; ++i) {
    const double target = t[i];
    const double d_size = target - options.alpha * target + options.beta * (1 - target);
    d[i] = static_cast<F>(-weight * (target / size - both * d_size / (size * size)));
  }
  return static_cast<F>(1 - both / size);
}

}  // namespace

void element_loss(Context& ctx, const LossRows& rows, ElementLoss kind) {
  check_loss_rows("element_loss", rows, rows.prediction.size(), rows.prediction.dtype());
  with_float_type("element_loss", "prediction", rows.prediction, [&](auto zero) {
    using F = decltype(zero);
    const bool is_hinge = kind == ElementLoss::hinge || kind == ElementLoss::squared_hinge;
    const Element<F> element{kind, is_hinge && all_binary<F>(rows.target)};
    for_loss_rows<F>(ctx, rows, [&](const F* x, const F* t, Index width, F weight, F* d) {
      F sum = 0;
      for (Index i = 0; i < width; ++i) {
        F slope = 0;
        sum += element(x[i], t[i], slope);
        if (d != nullptr) d[i] = weight * slope / static_cast<F>(width);
      }
      return sum / static_cast<F>(width);
    });
  });
}

void vector_loss(Context& ctx, const LossRows& rows, VectorLoss kind) {
  check_loss_rows("vector_loss", rows, rows.prediction.size(), rows.prediction.dtype());
  with_float_type("vector_loss", "prediction", rows.prediction, [&](auto zero) {
    using F = decltype(zero);
    for_loss_rows<F>(ctx, rows, [&](const F* x, const F* t, Index width, F weight, F* d) {
      if (kind == VectorLoss::cosine) return cosine_row(x, t, width, weight, d);
      if (kind == VectorLoss::kl_divergence) return divergence_row(x, t, width, weight, d);
      return categorical_hinge_row(x, t, width, weight, d);
    });
  });
}

void overlap_loss(Context& ctx, const LossRows& rows, const OverlapOptions& options) {
  check_loss_rows("overlap_loss", rows, rows.prediction.size(), rows.prediction.dtype());
  with_float_type("overlap_loss", "prediction", rows.prediction, [&](auto zero) {
    using F = decltype(zero);
    for_loss_rows<F>(ctx, rows, [&](const F* x, const F* t, Index width, F weight, F* d) {
      return overlap_row(x, t, width, weight, d, options);
    });
  });
}

}  // namespace grouphead::ops
