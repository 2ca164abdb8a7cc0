#include "ops/optimizer.h"

#include <cmath>

#include "ops/optimizer_elements.h"

namespace grouphead::ops {
namespace {

template <class F>
kernels::AdamWCoefficients<F> coefficients_of(const AdamWStep& step) {
  return {
      .decay = static_cast<F>(step.decay),
      .alpha = static_cast<F>(step.alpha),
      .one_minus_beta_1 = static_cast<F>(1 - step.beta_1),
      .one_minus_beta_2 = static_cast<F>(1 - step.beta_2),
      .epsilon = static_cast<F>(step.epsilon),
      .gradient_scale = static_cast<F>(step.gradient_scale),
  };
}

}  // namespace

void adamw(Context& ctx, const AdamWStep& step, ConstView gradient, View w, View m, View v) {
  with_float_type("adamw", "w", w, [&](auto zero) {
    using F = decltype(zero);
    require_elements("adamw", "w", w, w.size(), kDtypeOf<F>);
    require_elements("adamw", "gradient", gradient, w.size(), kDtypeOf<F>);
    require_elements("adamw", "m", m, w.size(), kDtypeOf<F>);
    require_elements("adamw", "v", v, w.size(), kDtypeOf<F>);
    const kernels::AdamWCoefficients<F> coefficients = coefficients_of<F>(step);
    const auto& kernels = rowwise_kernels<F>(ctx);
    for_blocks(ctx, w.size(), kBlockElements, [&](Index begin, Index end) {
      kernels.adamw(coefficients, gradient.data<F>() + begin, end - begin, w.data<F>() + begin,
                    m.data<F>() + begin, v.data<F>() + begin);
    });
  });
}

void amsgrad(Context& ctx, const AdamWStep& step, ConstView gradient, View w, View m, View v,
             View v_hat) {
  for_elements(ctx, "amsgrad", w, {gradient, m, v, v_hat}, [&](auto zero, Index begin, Index end) {
    using F = decltype(zero);
    const auto c = coefficients_of<F>(step);
    const F* g = gradient.data<F>();
    for (Index i = begin; i < end; ++i) {
      const F scaled = g[i] * c.gradient_scale;
      F& first = m.data<F>()[i];
      F& second = v.data<F>()[i];
      F& highest = v_hat.data<F>()[i];
      first += (scaled - first) * c.one_minus_beta_1;
      second += (scaled * scaled - second) * c.one_minus_beta_2;
      if (!(highest >= second)) highest = second;
      F& weight = w.data<F>()[i];
      weight = weight - weight * c.decay - first * c.alpha / (std::sqrt(highest) + c.epsilon);
    }
  });
}

void sgd(Context& ctx, const SgdStep& step, ConstView gradient, View w, View m) {
  const View velocity = m.has_value() ? m : w;
  for_elements(ctx, "sgd", w, {gradient, velocity}, [&](auto zero, Index begin, Index end) {
    using F = decltype(zero);
    const auto decay = static_cast<F>(step.decay);
    const auto momentum = static_cast<F>(step.momentum);
    const auto rate = static_cast<F>(step.learning_rate);
    const auto scale = static_cast<F>(step.gradient_scale);
    const F* g = gradient.data<F>();
    F* weight = w.data<F>();
    if (!m.has_value()) {
      for (Index i = begin; i < end; ++i) {
        weight[i] = weight[i] - weight[i] * decay - g[i] * scale * rate;
      }
      return;
    }
    F* moved = m.data<F>();
    for (Index i = begin; i < end; ++i) {
      const F pull = g[i] * scale * rate;
      moved[i] = moved[i] * momentum - pull;
      const F change = step.nesterov ? moved[i] * momentum - pull : moved[i];
      weight[i] = weight[i] - weight[i] * decay + change;
    }
  });
}

void blend(Context& ctx, double a, ConstView x, double b, View y) {
  for_elements(ctx, "blend", y, {x}, [&](auto zero, Index begin, Index end) {
    using F = decltype(zero);
    const F* from = x.data<F>();
    F* to = y.data<F>();
    for (Index i = begin; i < end; ++i)
      to[i] = static_cast<F>(a) * from[i] + static_cast<F>(b) * to[i];
  });
}

void clip(Context& ctx, double scale, double limit, View x) {
  for_elements(ctx, "clip", x, {}, [&](auto zero, Index begin, Index end) {
    using F = decltype(zero);
    const auto high = static_cast<F>(limit);
    F* numbers = x.data<F>();
    for (Index i = begin; i < end; ++i) {
      const F scaled = numbers[i] * static_cast<F>(scale);
      numbers[i] = scaled > high ? high : scaled < -high ? -high : scaled;
    }
  });
}

}  // namespace grouphead::ops
