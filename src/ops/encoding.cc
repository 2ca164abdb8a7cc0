#include "ops/encoding.h"

#include <cmath>

#include "ops/rowwise.h"

namespace grouphead::ops {
namespace {

constexpr std::string_view kOperation = "encoding";

struct Sizes {
  Index outer, reduced, inner, depth;
};

Sizes sizes_of(const ConstView& ids, const ConstView& y) {
  return {ids.dim(0), ids.dim(1), ids.dim(2), y.shape().back()};
}

/// body(o, place of the id, place of its row in y) for ids that are categories.
template <class Body>
void for_categories(Context& ctx, const ConstView& ids, const Sizes& s, Body&& body) {
  const Index work = std::max<Index>(1, s.reduced * s.inner + s.inner * s.depth);
  const auto* category = ids.data<std::int64_t>();
  for_blocks(ctx, s.outer, std::max<Index>(1, kBlockElements / work), [&](Index begin, Index end) {
    for (Index i = begin * s.reduced * s.inner; i < end * s.reduced * s.inner; ++i) {
      const Index row = i / (s.reduced * s.inner) * s.inner + i % s.inner;
      if (category[i] >= 0 && category[i] < s.depth) body(i, row * s.depth + category[i]);
    }
  });
}

}  // namespace

void one_hot(Context& ctx, ConstView ids, View y) {
  fill_zero(y);
  const Index depth = y.shape().back();
  with_float_type(kOperation, "y", y, [&](auto zero) {
    using F = decltype(zero);
    const auto* category = ids.data<std::int64_t>();
    F* out = y.data<F>();
    for_blocks(ctx, ids.size(), kBlockElements, [&](Index begin, Index end) {
      for (Index i = begin; i < end; ++i) {
        if (category[i] >= 0 && category[i] < depth) out[i * depth + category[i]] = F{1};
      }
    });
  });
}

void many_hot(Context& ctx, ConstView ids, ConstView weights, bool counts, View y) {
  fill_zero(y);
  with_float_type(kOperation, "y", y, [&](auto zero) {
    using F = decltype(zero);
    const F* weight = weights.has_value() ? weights.data<F>() : nullptr;
    F* out = y.data<F>();
    for_categories(ctx, ids, sizes_of(ids, y), [&](Index i, Index place) {
      const F one = weight != nullptr ? weight[i] : F{1};
      out[place] = counts ? out[place] + one : F{1};
    });
  });
}

void many_hot_backward(Context& ctx, ConstView ids, ConstView d_y, View d_weights) {
  with_float_type(kOperation, "d_y", d_y, [&](auto zero) {
    using F = decltype(zero);
    const F* d = d_y.data<F>();
    F* out = d_weights.data<F>();
    for_categories(ctx, ids, sizes_of(ids, d_y), [&](Index i, Index place) { out[i] += d[place]; });
  });
}

void whole_numbers(Context& ctx, ConstView x, View ids) {
  constexpr double kFar = 9e15;  // where doubles are whole and i64 has them
  const double* from = x.data<double>();
  auto* to = ids.data<std::int64_t>();
  for_blocks(ctx, x.size(), kBlockElements, [&](Index begin, Index end) {
    for (Index i = begin; i < end; ++i) {
      const bool is_whole = std::abs(from[i]) < kFar && std::trunc(from[i]) == from[i];
      to[i] = is_whole ? static_cast<std::int64_t>(from[i]) : -1;
    }
  });
}

}  // namespace grouphead::ops
