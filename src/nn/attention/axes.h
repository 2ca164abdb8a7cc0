#pragma once

// Attention over some axes of inputs [B, d_1 .. d_n, M], as attention over axis 1 of [B', T, M].

#include <array>

#include "grouphead/core/context.h"
#include "grouphead/layers/layer_input.h"

namespace grouphead::nn {

/// Which inner axes attention runs over. T is their product, in the order given; B' that of the
/// other axes before the last, in their order.
class AttentionAxes {
 public:
  /// Negative axes count from the end; none stand for all inner axes.
  /// Errors: ShapeError for a rank below 3, ConfigError for axes that are not inner or stand twice.
  AttentionAxes(std::string_view layer, std::span<const Index> axes, int rank);

  int rank() const noexcept { return rank_; }
  int num_batch_axes() const noexcept { return num_batch_; }
  int num_attention_axes() const noexcept { return rank_ - 1 - num_batch_; }
  /// Counted from the front, in the order given.
  std::span<const Index> axes() const noexcept {
    return {order_.data() + num_batch_, static_cast<std::size_t>(num_attention_axes())};
  }
  /// Before the last axis, without axes().
  std::span<const Index> batch_axes() const noexcept {
    return {order_.data(), static_cast<std::size_t>(num_batch_)};
  }
  /// Whether positions are those of axis 1 alone: what masks of positions mean.
  bool is_axis_1() const noexcept { return num_attention_axes() == 1 && axes()[0] == 1; }
  /// Whether [B', T, M] is the same elements in the same order.
  bool is_in_place() const noexcept { return in_place_; }

  /// [B', T, last axis] of a complete shape of this rank.
  Shape folded(const Shape& x) const;
  /// x as [B', T, last axis]: shared elements where is_in_place(), else a copy. A view stays one
  /// where it has rank 3 and evenly spaced rows, unless x `is_kept` for longer than the call.
  LayerInput fold(Context& ctx, const LayerInput& x, bool is_kept) const;
  Tensor fold_copy(Context& ctx, ConstView x) const;
  /// The way back, of y [B', T, E], for a query's shape: [B, d_1 .. d_n, E].
  Tensor unfold(Context& ctx, const Tensor& y, const Shape& query) const;
  /// [batch axes .., heads, query's axes .., value's axes ..]; -1 where unknown.
  Shape scores(const Shape& query, Index num_heads, const Shape& value) const;

 private:
  // The axes in the order B' and T take them.
  Shape permuted(const Shape& x) const;

  std::array<Index, kMaxRank> order_{};  // batch axes, attention axes, the last
  int rank_;
  int num_batch_ = 0;
  bool in_place_ = true;
};

}  // namespace grouphead::nn
