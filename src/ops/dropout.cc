#include <cmath>

#include "ops/elementwise_common.h"
#include "ops/floating.h"

namespace grouphead::ops {
namespace {

struct Drawn {
  kernels::DropoutDraw draw;
  double keep;  // the share that is kept, by the threshold
};

// The rate that acts is the threshold's, so that kept values are scaled by exactly its inverse.
Drawn philox_draw(double rate, RandomKey key) {
  const double threshold = std::min(std::round(rate * 0x1p32), 0x1p32 - 1);
  return {{key.seed, key.draw, static_cast<std::uint32_t>(threshold)}, 1 - threshold * 0x1p-32};
}

// Keras on JAX keeps where u < p for p = 1 - rate in f32 and u, the upper 23 bits of the word, in
// [0, 1): where the word is below ceil(p 2^23) 2^9, so its complement at least 2^32 minus that.
Drawn threefry_draw(double rate, RandomKey key) {
  const double kept_words = std::ceil(static_cast<float>(1 - rate) * 0x1p23) * 0x1p9;
  const auto threshold = static_cast<std::uint32_t>(0x1p32 - kept_words);
  return {{key.seed, key.draw, threshold, kernels::DropoutDraw::Words::threefry_complement},
          1 - rate};
}

double rounded_to(Dtype grid, double value) {
  with_floating("dropout", "grid", grid,
                [&](auto zero) { value = widened(narrowed<decltype(zero)>(value)); });
  return value;
}

// Keras divides by `keep` in the type `grid`; XLA makes that a product with the inverse, which it
// rounds to the type it multiplies in: f32 for bf16.
double scale_of(double keep, Dtype grid) {
  return rounded_to(grid == Dtype::bf16 ? Dtype::f32 : grid, 1 / rounded_to(grid, keep));
}

}  // namespace

void dropout(Context& ctx, ConstView x, double rate, RandomDraw draw, Dtype grid, View y) {
  if (!(rate >= 0 && rate <= 1)) {
    detail::throw_config_error("dropout", "rate", "0 <= rate <= 1", std::to_string(rate));
  }
  with_float_type("dropout", "x", x, [&](auto zero) {
    using F = decltype(zero);
    require_elements("dropout", "x", x, y.size(), kDtypeOf<F>);
    require_elements("dropout", "y", y, x.size(), kDtypeOf<F>);
    if (rate == 1) return fill_zero(y);
    const Drawn drawn = draw.algorithm == RandomAlgorithm::philox ? philox_draw(rate, draw.key)
                                                                  : threefry_draw(rate, draw.key);
    const auto scale = static_cast<F>(scale_of(drawn.keep, grid));
    const auto& kernels = elementwise_kernels<F>(ctx);
    for_blocks(ctx, y.size(), kBlockElements, [&](Index begin, Index end) {
      kernels.dropout(x.data<F>() + begin, drawn.draw, scale, begin, end - begin,
                      y.data<F>() + begin);
    });
  });
}

}  // namespace grouphead::ops
