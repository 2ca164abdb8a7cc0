#include "ops/loss.h"

#include "ops/rowwise.h"

namespace grouphead::ops {
namespace {

Rows checked_rows(std::string_view operation, const ConstView& logits, const ConstView& labels) {
  const Rows rows = rows_of(operation, "logits", logits);
  require_elements(operation, "labels", labels, rows.count, Dtype::i32);
  require_indices(operation, "labels", labels, rows.width);
  return rows;
}

}  // namespace

double softmax_cross_entropy_forward(Context& ctx, ConstView logits, ConstView labels, View lse) {
  constexpr std::string_view kName = "softmax_cross_entropy";
  const Rows rows = checked_rows(kName, logits, labels);
  double sum = 0;
  with_float_type(kName, "logits", logits, [&](auto zero) {
    using F = decltype(zero);
    F* kept = optional_elements<F>(kName, "lse", lse, rows.count);
    const auto& kernels = rowwise_kernels<F>(ctx);
    const Index block = rows_per_block(rows);
    sum = sum_of_blocks(ctx, rows.count, block, [&](Index begin, Index end) {
      return kernels.cross_entropy_forward(logits.data<F>() + begin * rows.width,
                                           labels.data<std::int32_t>() + begin, end - begin,
                                           rows.width, kept != nullptr ? kept + begin : nullptr);
    });
  });
  return sum / static_cast<double>(rows.count);
}

void softmax_cross_entropy_backward(Context& ctx, ConstView logits, ConstView labels, ConstView lse,
                                    const RowScale& scale, View d_logits) {
  constexpr std::string_view kName = "softmax_cross_entropy_backward";
  const Rows rows = checked_rows(kName, logits, labels);
  const double* scales = nullptr;
  if (scale.of_rows.has_value()) {
    require_elements(kName, "scale", scale.of_rows, rows.count, Dtype::f64);
    scales = scale.of_rows.data<double>();
  }
  with_float_type(kName, "logits", logits, [&](auto zero) {
    using F = decltype(zero);
    require_elements(kName, "lse", lse, rows.count, kDtypeOf<F>);
    require_elements(kName, "d_logits", d_logits, logits.size(), kDtypeOf<F>);
    const auto& kernels = rowwise_kernels<F>(ctx);
    const auto run = [&](Index begin, Index end, double factor) {
      const Index at = begin * rows.width;
      kernels.cross_entropy_backward(logits.data<F>() + at, labels.data<std::int32_t>() + begin,
                                     lse.data<F>() + begin, static_cast<F>(factor), end - begin,
                                     rows.width, d_logits.data<F>() + at);
    };
    for_row_blocks(ctx, rows, [&](Index begin, Index end) {
      if (scales == nullptr) return run(begin, end, scale.uniform);
      for (Index r = begin; r < end; ++r) {
        if (scales[r] != 0) {
          run(r, r + 1, scales[r]);
        } else {
          std::fill_n(d_logits.data<F>() + r * rows.width, rows.width, F{0});
        }
      }
    });
  });
}

}  // namespace grouphead::ops
