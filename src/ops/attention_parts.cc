#include "ops/attention_parts.h"

#include <cmath>

#include "ops/attention_problem.h"

namespace grouphead::ops {
namespace {

// body(b, t) for all positions of x [B, T, H, D].
template <class Body>
void for_positions(Context& ctx, const ConstView& x, const Body& body) {
  constexpr Index kPositions = 64;
  const Index units = (x.dim(1) + kPositions - 1) / kPositions;
  for_units(ctx, x.dim(0) * units, static_cast<double>(x.size()), [&](Index unit, int) {
    const Index begin = unit % units * kPositions;
    const Index end = std::min(begin + kPositions, x.dim(1));
    for (Index t = begin; t < end; ++t) body(unit / units, t);
  });
}

/// The greatest logit in base 2 and the sum of one row.
template <class F>
struct RowSum {
  F* top;
  F* sum;
};
template <class F>
RowSum<F> row_sum(F* data, const ConstView& statistics, Index b, Index h, Index t) {
  F* const top =
      data + b * statistics.stride(1) + h * statistics.stride(2) + t * statistics.stride(3);
  return {top, top + statistics.stride(0)};
}

template <class F>
void merge_row(const F* part, RowSum<const F> added, F* out, RowSum<F> row, Index count) {
  if (*added.sum == 0) return;
  const F top = *row.sum == 0 || *added.top > *row.top ? *added.top : *row.top;
  const F old_sum = *row.sum == 0 ? 0 : *row.sum * std::exp2(*row.top - top);
  const F new_sum = *added.sum * std::exp2(*added.top - top);
  const F sum = old_sum + new_sum;
  const F old_weight = old_sum / sum;
  const F new_weight = new_sum / sum;
  for (Index i = 0; i < count; ++i) out[i] = old_weight * out[i] + new_weight * part[i];
  *row.top = top;
  *row.sum = sum;
}

template <class F>
void merge(Context& ctx, const ConstView& part, const ConstView& part_statistics, const View& out,
           const View& statistics) {
  const auto from = heads_of<F>(part);
  const auto to = mutable_heads_of<F>(out);
  for_positions(ctx, part, [&](Index b, Index t) {
    for (Index h = 0; h < part.dim(2); ++h) {
      merge_row<F>(from.data + b * from.batch + t * from.time + h * from.head,
                   row_sum(part_statistics.data<F>(), part_statistics, b, h, t),
                   to.data + b * to.batch + t * to.time + h * to.head,
                   row_sum(statistics.data<F>(), statistics, b, h, t), part.dim(3));
    }
  });
}

template <class F>
void add(Context& ctx, const ConstView& x, const View& y) {
  const auto from = heads_of<F>(x);
  const auto to = mutable_heads_of<F>(y);
  for_positions(ctx, x, [&](Index b, Index t) {
    for (Index h = 0; h < x.dim(2); ++h) {
      const F* in = from.data + b * from.batch + t * from.time + h * from.head;
      F* out = to.data + b * to.batch + t * to.time + h * to.head;
      for (Index i = 0; i < x.dim(3); ++i) out[i] += in[i];
    }
  });
}

}  // namespace

void merge_attention(Context& ctx, ConstView part, ConstView part_statistics, View out,
                     View statistics) {
  const auto run = part.dtype() == Dtype::f32 ? &merge<float> : &merge<double>;
  run(ctx, part, part_statistics, out, statistics);
}

void add_heads(Context& ctx, ConstView from, View to) {
  const auto run = from.dtype() == Dtype::f32 ? &add<float> : &add<double>;
  run(ctx, from, to);
}

}  // namespace grouphead::ops
