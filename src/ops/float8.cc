#include "ops/float8.h"

#include "kernels/rowwise/float8.h"
#include "ops/rowwise.h"

namespace grouphead::ops {

void round_to_float8(Context& ctx, ConstView x, double scale, Float8Kind kind, View y) {
  constexpr std::string_view kName = "round_to_float8";
  const kernels::Float8Form& form = kind == Float8Kind::e4m3 ? kernels::kE4M3 : kernels::kE5M2;
  with_float_type(kName, "x", x, [&](auto zero) {
    using F = decltype(zero);
    require_elements(kName, "x", x, x.size(), kDtypeOf<F>);
    require_elements(kName, "y", y, x.size(), kDtypeOf<F>);
    for_blocks(ctx, x.size(), kBlockElements, [&](Index begin, Index end) {
      kernels::round_to_float8(end - begin, x.data<F>() + begin, static_cast<F>(scale), form,
                               y.data<F>() + begin);
    });
  });
}

}  // namespace grouphead::ops
