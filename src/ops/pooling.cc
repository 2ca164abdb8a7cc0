#include "ops/pooling.h"

#include <algorithm>

#include "core/check.h"
#include "core/context_impl.h"

namespace grouphead::ops {
namespace {

struct Sizes {
  Index batch, length, width;
};

Sizes check(std::string_view operation, const ConstView& sequence, const ConstView& pooled) {
  core::require_shape(operation, "sequence", sequence, {-1, -1, -1});
  if (sequence.dim(1) < 1) {
    core::throw_shape_error(operation, "sequence", "1 time step or more",
                            sequence.shape().to_string());
  }
  core::require_contiguous(operation, "sequence", sequence);
  core::require_dense(operation, "pooled", pooled, {sequence.dim(0), sequence.dim(2)},
                      sequence.dtype());
  return {sequence.dim(0), sequence.dim(1), sequence.dim(2)};
}

template <class F>
void forward(Context& ctx, const Sizes& sizes, const F* x, F* y) {
  ctx.impl().parallel_for(sizes.batch, [&](Index b, int) {
    const F* row = x + b * sizes.length * sizes.width;
    F* sum = y + b * sizes.width;
    std::fill_n(sum, sizes.width, F{0});
    for (Index t = 0; t < sizes.length; ++t, row += sizes.width) {
      for (Index m = 0; m < sizes.width; ++m) sum[m] += row[m];
    }
    for (Index m = 0; m < sizes.width; ++m) sum[m] /= static_cast<F>(sizes.length);
  });
}

template <class F>
void backward(Context& ctx, const Sizes& sizes, const F* d_y, F* d_x) {
  ctx.impl().parallel_for(sizes.batch, [&](Index b, int) {
    const F* source = d_y + b * sizes.width;
    F* row = d_x + b * sizes.length * sizes.width;
    for (Index t = 0; t < sizes.length; ++t, row += sizes.width) {
      for (Index m = 0; m < sizes.width; ++m) row[m] = source[m] / static_cast<F>(sizes.length);
    }
  });
}

}  // namespace

void mean_over_time_forward(Context& ctx, ConstView x, View y) {
  const Sizes sizes = check("mean_over_time", x, y);
  if (x.dtype() == Dtype::f64) {
    forward(ctx, sizes, x.data<double>(), y.data<double>());
  } else {
    forward(ctx, sizes, x.data<float>(), y.data<float>());
  }
}

void mean_over_time_backward(Context& ctx, ConstView d_y, View d_x) {
  const Sizes sizes = check("mean_over_time_backward", d_x, d_y);
  if (d_x.dtype() == Dtype::f64) {
    backward(ctx, sizes, d_y.data<double>(), d_x.data<double>());
  } else {
    backward(ctx, sizes, d_y.data<float>(), d_x.data<float>());
  }
}

}  // namespace grouphead::ops
