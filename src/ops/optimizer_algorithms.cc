#include "ops/optimizer_algorithms.h"

#include <cmath>

#include "ops/optimizer_elements.h"

namespace grouphead::ops {
namespace {

/// move(g, w, states...) of each element, with w decayed and g scaled; every state is present.
template <class Move, class... States>
void for_steps(Context& ctx, std::string_view name, const OptimizerStep& step, ConstView gradient,
               View w, const Move& move, const States&... states) {
  for_elements(ctx, name, w, {gradient, states...}, [&](auto zero, Index begin, Index end) {
    using F = decltype(zero);
    const auto scale = static_cast<F>(step.gradient_scale);
    const auto decay = static_cast<F>(step.decay);
    const F* g = gradient.data<F>();
    F* weights = w.data<F>();
    for (Index i = begin; i < end; ++i) {
      F& weight = weights[i];
      weight -= weight * decay;
      move(g[i] * scale, weight, states.template data<F>()[i]...);
    }
  });
}

template <class F>
F as(double value) noexcept {
  return static_cast<F>(value);
}

}  // namespace

void rmsprop(Context& ctx, const OptimizerStep& step, const RmspropNumbers& n, ConstView gradient,
             View w, View v, View m, View mean) {
  // Absent states are read nowhere: v stands for them.
  const View momenta = m.has_value() ? m : v;
  const View means = mean.has_value() ? mean : v;
  const auto move = [&](auto g, auto& weight, auto& square, auto& momentum, auto& average) {
    using F = decltype(g);
    square = as<F>(n.rho) * square + as<F>(1 - n.rho) * (g * g);
    F spread = square;
    if (mean.has_value()) {
      average = as<F>(n.rho) * average + as<F>(1 - n.rho) * g;
      spread -= average * average;
    }
    F change = as<F>(step.learning_rate) * g / std::sqrt(spread + as<F>(n.epsilon));
    if (m.has_value()) {
      momentum = as<F>(n.momentum) * momentum + change;
      change = momentum;
    }
    weight -= change;
  };
  for_steps(ctx, "rmsprop", step, gradient, w, move, v, momenta, means);
}

void nadam(Context& ctx, const OptimizerStep& step, const NadamNumbers& n, ConstView gradient,
           View w, View m, View v) {
  const auto move = [&](auto g, auto& weight, auto& first, auto& second) {
    using F = decltype(g);
    first += (g - first) * as<F>(1 - n.beta_1);
    second += (g * g - second) * as<F>(1 - n.beta_2);
    const F ahead = as<F>(n.m_factor) * first + as<F>(n.g_factor) * g;
    const F size = std::sqrt(second / as<F>(n.v_correction)) + as<F>(n.epsilon);
    weight -= ahead * as<F>(step.learning_rate) / size;
  };
  for_steps(ctx, "nadam", step, gradient, w, move, m, v);
}

void adamax(Context& ctx, const OptimizerStep& step, const AdamaxNumbers& n, ConstView gradient,
            View w, View m, View u) {
  const auto move = [&](auto g, auto& weight, auto& first, auto& largest) {
    using F = decltype(g);
    first += (g - first) * as<F>(1 - n.beta_1);
    const F faded = as<F>(n.beta_2) * largest;
    const F size = std::abs(g);
    largest = faded > size || std::isnan(faded) ? faded : size;
    weight -=
        as<F>(step.learning_rate) * first / (as<F>(n.correction) * (largest + as<F>(n.epsilon)));
  };
  for_steps(ctx, "adamax", step, gradient, w, move, m, u);
}

void adagrad(Context& ctx, const OptimizerStep& step, double epsilon, ConstView gradient, View w,
             View sum) {
  const auto move = [&](auto g, auto& weight, auto& squares) {
    using F = decltype(g);
    squares += g * g;
    weight -= as<F>(step.learning_rate) * g / std::sqrt(squares + as<F>(epsilon));
  };
  for_steps(ctx, "adagrad", step, gradient, w, move, sum);
}

void adadelta(Context& ctx, const OptimizerStep& step, double rho, double epsilon,
              ConstView gradient, View w, View squares, View changes) {
  const auto move = [&](auto g, auto& weight, auto& square, auto& change) {
    using F = decltype(g);
    square = as<F>(rho) * square + as<F>(1 - rho) * (g * g);
    const F delta = -(std::sqrt(change + as<F>(epsilon)) * g / std::sqrt(square + as<F>(epsilon)));
    change = as<F>(rho) * change + as<F>(1 - rho) * (delta * delta);
    weight += as<F>(step.learning_rate) * delta;
  };
  for_steps(ctx, "adadelta", step, gradient, w, move, squares, changes);
}

void ftrl(Context& ctx, const OptimizerStep& step, const FtrlNumbers& n, ConstView gradient, View w,
          View sum, View linear) {
  const auto move = [&](auto g, auto& weight, auto& squares, auto& pull) {
    using F = decltype(g);
    const auto rate = as<F>(step.learning_rate);
    const auto raised = [&](F x) {
      return n.power == 0.5 ? std::sqrt(x) : std::pow(x, as<F>(n.power));
    };
    const F now = squares + g * g;
    const F shrunk = g + as<F>(2 * n.shrinkage) * weight;
    pull += shrunk - (raised(now) - raised(squares)) / rate * weight;
    const F quadratic = raised(now) / rate + as<F>(2 * n.l2);
    const auto l1 = as<F>(n.l1);
    const F clipped = pull > l1 ? l1 : pull < -l1 ? -l1 : pull;
    weight = (clipped - pull) / quadratic;
    squares = now;
  };
  for_steps(ctx, "ftrl", step, gradient, w, move, sum, linear);
}

void lion(Context& ctx, const OptimizerStep& step, double beta_1, double beta_2, ConstView gradient,
          View w, View m) {
  const auto move = [&](auto g, auto& weight, auto& momentum) {
    using F = decltype(g);
    const F ahead = momentum * as<F>(beta_1) + g * (1 - as<F>(beta_1));
    const F sign = ahead > 0 ? F{1} : ahead < 0 ? F{-1} : ahead;  // NaN stays NaN
    weight -= as<F>(step.learning_rate) * sign;
    momentum = momentum * as<F>(beta_2) + g * (1 - as<F>(beta_2));
  };
  for_steps(ctx, "lion", step, gradient, w, move, m);
}

void schedule_free(Context& ctx, const OptimizerStep& step, const ScheduleFreeNumbers& n,
                   ConstView gradient, View w, View z, View v) {
  const auto move = [&](auto g, auto& weight, auto& target, auto& square) {
    using F = decltype(g);
    const auto beta = as<F>(n.beta_1);
    const auto share = as<F>(n.weight);
    square += (g * g - square) * as<F>(1 - n.beta_2);
    const F mean = (weight - (1 - beta) * target) / beta;
    target -= as<F>(step.learning_rate) * g /
              (std::sqrt(square / as<F>(n.v_correction)) + as<F>(n.epsilon));
    const F moved = (1 - share) * mean + share * target;
    weight = (1 - beta) * target + beta * moved;
  };
  for_steps(ctx, "schedule_free", step, gradient, w, move, z, v);
}

}  // namespace grouphead::ops
