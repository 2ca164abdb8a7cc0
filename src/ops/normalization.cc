#include "ops/normalization.h"

#include "ops/rowwise.h"

namespace grouphead::ops {
namespace {

// Rows of one partial sum of the parameter gradients. Fixed, so that splitting a batch at a
// multiple of it changes no bit.
constexpr Index kGradientRows = 64;

// sum[j] += parts[0][j] + parts[1][j] + ..., one addition after the other.
template <class F>
void add_parts(const kernels::RowwiseKernels<F>& kernels, const F* parts, Index count,
               Index part_stride, Index width, F* sum) {
  for (Index part = 0; part < count; ++part) {
    kernels.add(sum, parts + part * part_stride, width, sum);
  }
}

}  // namespace

void layer_norm_forward(Context& ctx, ConstView x, ConstView gamma, ConstView beta, double epsilon,
                        View y, View mean, View rstd) {
  const Rows rows = spaced_rows_of("layer_norm", "x", x);
  const Index stride = core::row_stride(x);
  with_float_type("layer_norm", "x", x, [&](auto zero) {
    using F = decltype(zero);
    require_elements("layer_norm", "gamma", gamma, rows.width, kDtypeOf<F>);
    require_elements("layer_norm", "beta", beta, rows.width, kDtypeOf<F>);
    require_elements("layer_norm", "y", y, x.size(), kDtypeOf<F>);
    F* means = optional_elements<F>("layer_norm", "mean", mean, rows.count);
    F* rstds = optional_elements<F>("layer_norm", "rstd", rstd, rows.count);
    const auto& kernels = rowwise_kernels<F>(ctx);
    for_row_blocks(ctx, rows, [&](Index begin, Index end) {
      const Index step = stride == rows.width ? end - begin : 1;  // rows of one call
      for (Index row = begin; row < end; row += step) {
        kernels.layer_norm_forward(x.data<F>() + row * stride, gamma.data<F>(), beta.data<F>(),
                                   epsilon, step, rows.width, y.data<F>() + row * rows.width,
                                   means != nullptr ? means + row : nullptr,
                                   rstds != nullptr ? rstds + row : nullptr);
      }
    });
  });
}

void layer_norm_backward(Context& ctx, ConstView x, ConstView gamma, ConstView mean, ConstView rstd,
                         ConstView d_y, Write write, View d_x, View d_gamma, View d_beta) {
  constexpr std::string_view kName = "layer_norm_backward";
  const Rows rows = rows_of(kName, "x", x);
  with_float_type(kName, "x", x, [&](auto zero) {
    using F = decltype(zero);
    require_elements(kName, "gamma", gamma, rows.width, kDtypeOf<F>);
    require_elements(kName, "mean", mean, rows.count, kDtypeOf<F>);
    require_elements(kName, "rstd", rstd, rows.count, kDtypeOf<F>);
    require_elements(kName, "d_y", d_y, x.size(), kDtypeOf<F>);
    F* d_inputs = optional_elements<F>(kName, "d_x", d_x, x.size());
    F* d_gammas = optional_elements<F>(kName, "d_gamma", d_gamma, rows.width);
    F* d_betas = optional_elements<F>(kName, "d_beta", d_beta, rows.width);
    const Index blocks = num_blocks(rows.count, kGradientRows);
    const Index stride = 2 * rows.width;  // d_gamma and d_beta of one block
    Tensor parts;
    if (d_gammas != nullptr || d_betas != nullptr) {
      parts = ctx.tensor({blocks, stride}, kDtypeOf<F>);
    }
    F* sums = parts.has_value() ? parts.data<F>() : nullptr;
    const auto& kernels = rowwise_kernels<F>(ctx);
    for_blocks(ctx, rows.count, kGradientRows, [&](Index begin, Index end) {
      const Index at = begin * rows.width;
      F* part = sums != nullptr ? sums + begin / kGradientRows * stride : nullptr;
      kernels.layer_norm_backward(x.data<F>() + at, gamma.data<F>(), mean.data<F>() + begin,
                                  rstd.data<F>() + begin, d_y.data<F>() + at, write == Write::add,
                                  end - begin, rows.width,
                                  d_inputs != nullptr ? d_inputs + at : nullptr, part,
                                  part != nullptr ? part + rows.width : nullptr);
    });
    if (d_gammas != nullptr) add_parts(kernels, sums, blocks, stride, rows.width, d_gammas);
    if (d_betas != nullptr) {
      add_parts(kernels, sums + rows.width, blocks, stride, rows.width, d_betas);
    }
  });
}

}  // namespace grouphead::ops
