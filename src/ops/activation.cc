#include "ops/elementwise_common.h"

namespace grouphead::ops {

void gelu_forward(Context& ctx, ConstView x, View y) {
  with_float_type("gelu", "x", x, [&](auto zero) {
    using F = decltype(zero);
    require_elements("gelu", "x", x, y.size(), kDtypeOf<F>);
    require_elements("gelu", "y", y, x.size(), kDtypeOf<F>);
    const auto& kernels = elementwise_kernels<F>(ctx);
    for_blocks(ctx, y.size(), kBlockElements, [&](Index begin, Index end) {
      kernels.gelu_forward(x.data<F>() + begin, end - begin, y.data<F>() + begin);
    });
  });
}

void gelu_backward(Context& ctx, ConstView x, ConstView d_y, View d_x) {
  with_float_type("gelu_backward", "x", x, [&](auto zero) {
    using F = decltype(zero);
    require_elements("gelu_backward", "x", x, x.size(), kDtypeOf<F>);
    require_elements("gelu_backward", "d_y", d_y, x.size(), kDtypeOf<F>);
    require_elements("gelu_backward", "d_x", d_x, x.size(), kDtypeOf<F>);
    const auto& kernels = elementwise_kernels<F>(ctx);
    for_blocks(ctx, x.size(), kBlockElements, [&](Index begin, Index end) {
      kernels.gelu_backward(x.data<F>() + begin, d_y.data<F>() + begin, end - begin,
                            d_x.data<F>() + begin);
    });
  });
}

}  // namespace grouphead::ops
