#include "ops/rope.h"

#include <cmath>

#include "ops/rowwise.h"

namespace grouphead::ops {
namespace {

// Angles are formed in double and each table entry is rounded once: f32 angles would lose about
// position * frequency * 6e-8.
template <class F>
void fill_table(const std::vector<double>& frequencies, double magnitude,
                std::span<const PositionRange> ranges, F* cos, F* sin) {
  for (const PositionRange& range : ranges) {
    for (Index position = range.begin; position < range.end; ++position) {
      for (const double frequency : frequencies) {
        const double angle = static_cast<double>(position) * frequency;
        *cos++ = static_cast<F>(magnitude * std::cos(angle));
        *sin++ = static_cast<F>(magnitude * std::sin(angle));
      }
    }
  }
}

}  // namespace

RopeTable make_rope_table(Index positions, Index head_dim, const RopeConfig& config, Dtype dtype,
                          Index length) {
  const PositionRange range{0, positions};
  return make_rope_table(std::span(&range, 1), head_dim, config, dtype, length);
}

RopeTable make_rope_table(std::span<const PositionRange> ranges, Index head_dim,
                          const RopeConfig& config, Dtype dtype, Index length) {
  const std::vector<double> frequencies = rope_frequencies(head_dim, config, length);
  Index positions = 0;
  for (const PositionRange& range : ranges) positions += range.end - range.begin;
  const Shape shape = {positions, static_cast<Index>(frequencies.size())};
  RopeTable table{Tensor(shape, dtype), Tensor(shape, dtype), config.layout};
  with_float_type("rope_table", "dtype", table.cos, [&](auto zero) {
    using F = decltype(zero);
    fill_table(frequencies, rope_magnitude(config), ranges, table.cos.data<F>(),
               table.sin.data<F>());
  });
  return table;
}

void rope(Context& ctx, const RopeTable& table, Index first_position, Direction direction, View x) {
  core::require_shape("rope", "x", x, {-1, -1, -1, -1});
  const Index batch = x.dim(0);
  const Index length = x.dim(1);
  const Index heads = x.dim(2);
  const Index pairs = table.cos.dim(1);
  if (x.dim(3) < 2 * pairs) {
    core::throw_shape_error("rope", "x", "[*, *, *, " + std::to_string(2 * pairs) + " or more]",
                            x.shape().to_string());
  }
  if (first_position < 0 || first_position > table.cos.dim(0) - length) {
    core::throw_shape_error("rope", "x", "positions below " + std::to_string(table.cos.dim(0)),
                            std::to_string(first_position) + " + " + std::to_string(length));
  }
  if (x.stride(3) != 1) core::throw_shape_error("rope", "x", "a contiguous last axis", "strides");
  with_float_type("rope", "x", x, [&](auto zero) {
    using F = decltype(zero);
    core::require_dtype("rope", "table", table.cos, kDtypeOf<F>);
    const auto& kernels = rowwise_kernels<F>(ctx);
    const auto turn =
        table.layout == RopeLayout::half ? kernels.rope_half : kernels.rope_interleaved;
    const F sign = direction == Direction::forward ? F{1} : F{-1};
    for_row_blocks(ctx, {batch * length, heads * 2 * pairs}, [&](Index begin, Index end) {
      for (Index row = begin; row < end; ++row) {
        const Index b = row / length;
        const Index t = row % length;
        const Index entry = (first_position + t) * pairs;
        turn(table.cos.data<F>() + entry, table.sin.data<F>() + entry, sign, pairs, heads,
             x.stride(2), x.data<F>() + b * x.stride(0) + t * x.stride(1));
      }
    });
  });
}

}  // namespace grouphead::ops
