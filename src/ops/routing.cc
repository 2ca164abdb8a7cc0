#include "ops/routing.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "ops/rowwise.h"

namespace grouphead::ops {
namespace {

template <class F>
void softmax(F* weights, Index count) {
  const F greatest = weights[0];  // they descend
  F sum = 0;
  for (Index i = 0; i < count; ++i) sum += weights[i] = std::exp(weights[i] - greatest);
  for (Index i = 0; i < count; ++i) weights[i] /= sum;
}

}  // namespace

void route_forward(Context& ctx, ConstView logits, View experts, View weights) {
  constexpr std::string_view kName = "route";
  const Rows rows = rows_of(kName, "logits", logits);
  core::require_shape(kName, "experts", experts, {rows.count, -1});
  const Index chosen = experts.dim(1);
  if (chosen < 1 || chosen > rows.width) {
    core::throw_shape_error(kName, "experts", "1 to " + std::to_string(rows.width) + " of a row",
                            std::to_string(chosen));
  }
  require_elements(kName, "experts", experts, rows.count * chosen, Dtype::i32);
  with_float_type(kName, "logits", logits, [&](auto zero) {
    using F = decltype(zero);
    require_elements(kName, "weights", weights, rows.count * chosen, kDtypeOf<F>);
    for_row_blocks(ctx, rows, [&](Index begin, Index end) {
      std::vector<std::int32_t> order(static_cast<std::size_t>(rows.width));
      for (Index r = begin; r < end; ++r) {
        const F* row = logits.data<F>() + r * rows.width;
        std::iota(order.begin(), order.end(), 0);
        std::partial_sort(order.begin(), order.begin() + chosen, order.end(),
                          [row](std::int32_t a, std::int32_t b) {
                            return row[a] != row[b] ? row[a] > row[b] : a < b;
                          });
        F* out = weights.data<F>() + r * chosen;
        for (Index i = 0; i < chosen; ++i) {
          const std::int32_t expert = order[static_cast<std::size_t>(i)];
          experts.data<std::int32_t>()[r * chosen + i] = expert;
          out[i] = row[expert];
        }
        softmax(out, chosen);
      }
    });
  });
}

void route_backward(Context& ctx, ConstView experts, ConstView weights, ConstView d_weights,
                    View d_logits) {
  constexpr std::string_view kName = "route_backward";
  const Rows rows = rows_of(kName, "d_logits", d_logits);
  core::require_shape(kName, "experts", experts, {rows.count, -1});
  const Index chosen = experts.dim(1);
  require_elements(kName, "experts", experts, rows.count * chosen, Dtype::i32);
  require_indices(kName, "experts", experts, rows.width);
  with_float_type(kName, "d_logits", d_logits, [&](auto zero) {
    using F = decltype(zero);
    require_elements(kName, "weights", weights, rows.count * chosen, kDtypeOf<F>);
    require_elements(kName, "d_weights", d_weights, rows.count * chosen, kDtypeOf<F>);
    for_row_blocks(ctx, rows, [&](Index begin, Index end) {
      for (Index r = begin; r < end; ++r) {
        const F* w = weights.data<F>() + r * chosen;
        const F* d = d_weights.data<F>() + r * chosen;
        F* out = d_logits.data<F>() + r * rows.width;
        std::fill_n(out, rows.width, F{0});
        F mean = 0;
        for (Index i = 0; i < chosen; ++i) mean += w[i] * d[i];
        for (Index i = 0; i < chosen; ++i) {
          out[experts.data<std::int32_t>()[r * chosen + i]] = w[i] * (d[i] - mean);
        }
      }
    });
  });
}

}  // namespace grouphead::ops
