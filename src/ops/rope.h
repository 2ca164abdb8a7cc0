#pragma once

// Rotary position embedding. f32 through the kernels of the Context's level, f64 through the
// references. Tensors are contiguous unless said.

#include <span>

#include "grouphead/core/context.h"
#include "grouphead/layers/rope.h"

namespace grouphead::ops {

/// Cosines and sines of some positions, those below `positions` unless said, in the element type
/// `dtype`, angles computed in double: [positions, R/2] each, for R rotated dims.
struct RopeTable {
  Tensor cos;
  Tensor sin;
  RopeLayout layout = RopeLayout::half;
};
/// For a text of `length` positions, as rope_frequencies().
RopeTable make_rope_table(Index positions, Index head_dim, const RopeConfig& config, Dtype dtype,
                          Index length = 0);
/// Positions [begin, end).
struct PositionRange {
  Index begin = 0;
  Index end = 0;
};
/// The same of these positions alone, one range behind the other.
RopeTable make_rope_table(std::span<const PositionRange> ranges, Index head_dim,
                          const RopeConfig& config, Dtype dtype, Index length);

enum class Direction : std::uint8_t { forward, backward };
/// Rotates the first R <= D dims of x [B, T, H, D] in place; row t has position first_position + t.
/// `backward` is the transpose, for gradients.
void rope(Context& ctx, const RopeTable& table, Index first_position, Direction direction, View x);

}  // namespace grouphead::ops
