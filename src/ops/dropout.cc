#include <cmath>

#include "ops/elementwise_common.h"

namespace grouphead::ops {

void dropout(Context& ctx, ConstView x, double rate, RandomKey key, View y) {
  if (!(rate >= 0 && rate < 1)) {
    detail::throw_config_error("dropout", "rate", "0 <= rate < 1", std::to_string(rate));
  }
  static_assert(kBlockElements % 4 == 0);
  // The rate that acts is the threshold's, so that kept values are scaled by exactly its inverse.
  const double threshold = std::min(std::round(rate * 0x1p32), 0x1p32 - 1);
  const kernels::DropoutDraw draw = {key.seed, key.draw, static_cast<std::uint32_t>(threshold)};
  const double inverse = 1 / (1 - threshold * 0x1p-32);
  with_float_type("dropout", "x", x, [&](auto zero) {
    using F = decltype(zero);
    require_elements("dropout", "x", x, y.size(), kDtypeOf<F>);
    require_elements("dropout", "y", y, x.size(), kDtypeOf<F>);
    const auto& kernels = elementwise_kernels<F>(ctx);
    for_blocks(ctx, y.size(), kBlockElements, [&](Index begin, Index end) {
      kernels.dropout(x.data<F>() + begin, draw, static_cast<F>(inverse), begin, end - begin,
                      y.data<F>() + begin);
    });
  });
}

}  // namespace grouphead::ops
