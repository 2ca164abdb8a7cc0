#include "ops/arithmetic.h"

#include "ops/rowwise.h"

namespace grouphead::ops {

void add(Context& ctx, ConstView a, ConstView b, View y) {
  with_float_type("add", "a", a, [&](auto zero) {
    using F = decltype(zero);
    require_elements("add", "a", a, y.size(), kDtypeOf<F>);
    require_elements("add", "b", b, y.size(), kDtypeOf<F>);
    require_elements("add", "y", y, a.size(), kDtypeOf<F>);
    const auto& kernels = rowwise_kernels<F>(ctx);
    for_blocks(ctx, y.size(), kBlockElements, [&](Index begin, Index end) {
      kernels.add(a.data<F>() + begin, b.data<F>() + begin, end - begin, y.data<F>() + begin);
    });
  });
}

void scale(Context& ctx, ConstView x, double a, View y) {
  with_float_type("scale", "x", x, [&](auto zero) {
    using F = decltype(zero);
    require_elements("scale", "x", x, y.size(), kDtypeOf<F>);
    require_elements("scale", "y", y, x.size(), kDtypeOf<F>);
    const auto& kernels = rowwise_kernels<F>(ctx);
    for_blocks(ctx, y.size(), kBlockElements, [&](Index begin, Index end) {
      kernels.scale(x.data<F>() + begin, static_cast<F>(a), end - begin, y.data<F>() + begin);
    });
  });
}

double sum_of_squares(Context& ctx, ConstView x) {
  double sum = 0;
  with_float_type("sum_of_squares", "x", x, [&](auto zero) {
    using F = decltype(zero);
    require_elements("sum_of_squares", "x", x, x.size(), kDtypeOf<F>);
    const auto& kernels = rowwise_kernels<F>(ctx);
    sum = sum_of_blocks(ctx, x.size(), kBlockElements, [&](Index begin, Index end) {
      return kernels.sum_of_squares(x.data<F>() + begin, end - begin);
    });
  });
  return sum;
}

double inner_product(Context& ctx, ConstView a, ConstView b) {
  double sum = 0;
  with_float_type("inner_product", "a", a, [&](auto zero) {
    using F = decltype(zero);
    require_elements("inner_product", "a", a, b.size(), kDtypeOf<F>);
    require_elements("inner_product", "b", b, a.size(), kDtypeOf<F>);
    const F* x = a.data<F>();
    const F* y = b.data<F>();
    sum = sum_of_blocks(ctx, a.size(), kBlockElements, [&](Index begin, Index end) {
      double part = 0;
      for (Index i = begin; i < end; ++i) part += static_cast<double>(x[i]) * y[i];
      return part;
    });
  });
  return sum;
}

}  // namespace grouphead::ops
