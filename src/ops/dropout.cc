#include "ops/dropout.h"

#include "core/number_text.h"
#include "ops/floating.h"
#include "ops/keep_rule.h"
#include "ops/rowwise.h"

namespace grouphead::ops {
namespace {

double rounded_to(Dtype grid, double value) {
  with_floating("dropout", "grid", grid,
                [&](auto zero) { value = widened(narrowed<decltype(zero)>(value)); });
  return value;
}

// Keras divides by 1 - rate in the type `grid`; XLA makes that a product with the inverse, which it
// rounds to the type it multiplies in: f32 for bf16.
double scale_of(double rate, Dtype grid) {
  return rounded_to(grid == Dtype::bf16 ? Dtype::f32 : grid, 1 / rounded_to(grid, 1 - rate));
}

}  // namespace

void dropout(Context& ctx, ConstView x, double rate, RandomDraw draw, Dtype grid, View y) {
  if (!(rate >= 0 && rate <= 1)) {
    core::throw_config_error("dropout", "rate", "0 <= rate <= 1", core::number_text(rate));
  }
  with_float_type("dropout", "x", x, [&](auto zero) {
    using F = decltype(zero);
    require_elements("dropout", "x", x, y.size(), kDtypeOf<F>);
    require_elements("dropout", "y", y, x.size(), kDtypeOf<F>);
    if (rate == 1) return fill_zero(y);
    const kernels::KeepRule rule = keep_rule(rate, draw);
    const auto scale = static_cast<F>(scale_of(rate, grid));
    const auto& kernels = rowwise_kernels<F>(ctx);
    for_blocks(ctx, y.size(), kBlockElements, [&](Index begin, Index end) {
      kernels.dropout(x.data<F>() + begin, rule, scale, begin, end - begin, y.data<F>() + begin);
    });
  });
}

}  // namespace grouphead::ops
