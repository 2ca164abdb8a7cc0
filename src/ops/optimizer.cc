#include "ops/elementwise_common.h"

namespace grouphead::ops {

void adamw(Context& ctx, const AdamWStep& step, ConstView gradient, View w, View m, View v) {
  with_float_type("adamw", "w", w, [&](auto zero) {
    using F = decltype(zero);
    require_elements("adamw", "w", w, w.size(), kDtypeOf<F>);
    require_elements("adamw", "gradient", gradient, w.size(), kDtypeOf<F>);
    require_elements("adamw", "m", m, w.size(), kDtypeOf<F>);
    require_elements("adamw", "v", v, w.size(), kDtypeOf<F>);
    const kernels::AdamWCoefficients<F> coefficients = {
        .decay = static_cast<F>(step.learning_rate * step.weight_decay),
        .alpha = static_cast<F>(step.alpha),
        .one_minus_beta_1 = static_cast<F>(1 - step.beta_1),
        .one_minus_beta_2 = static_cast<F>(1 - step.beta_2),
        .epsilon = static_cast<F>(step.epsilon),
        .gradient_scale = static_cast<F>(step.gradient_scale),
    };
    const auto& kernels = elementwise_kernels<F>(ctx);
    for_blocks(ctx, w.size(), kBlockElements, [&](Index begin, Index end) {
      kernels.adamw(coefficients, gradient.data<F>() + begin, end - begin, w.data<F>() + begin,
                    m.data<F>() + begin, v.data<F>() + begin);
    });
  });
}

}  // namespace grouphead::ops
