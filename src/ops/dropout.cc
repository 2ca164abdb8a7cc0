#include "ops/dropout.h"

#include <algorithm>

#include "core/number_text.h"
#include "ops/floating.h"
#include "ops/keep_rule.h"
#include "ops/rowwise.h"

namespace grouphead::ops {
namespace {

constexpr Index kDrawBlock = 4;  // words of a Philox block, at which kernels begin

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

void dropout(Context& ctx, ConstView x, double rate, RandomDraw draw, Dtype grid, View y,
             Index first) {
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
    const Index head = std::min(y.size(), (kDrawBlock - first % kDrawBlock) % kDrawBlock);
    for (Index i = 0; i < head; ++i) {
      const bool is_kept = rule.keeps(static_cast<std::uint64_t>(first + i));
      y.data<F>()[i] = is_kept ? scale * x.data<F>()[i] : F{0};
    }
    const F* from = x.data<F>() + head;
    F* to = y.data<F>() + head;
    for_blocks(ctx, y.size() - head, kBlockElements, [&](Index begin, Index end) {
      kernels.dropout(from + begin, rule, scale, first + head + begin, end - begin, to + begin);
    });
  });
}

}  // namespace grouphead::ops
