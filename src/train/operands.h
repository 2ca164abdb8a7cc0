#pragma once

// What losses and metrics do alike with targets, predictions and weights.

#include "grouphead/core/context.h"

namespace grouphead::train {

/// The elements of a view in another type: the view itself where it is contiguous and has the type,
/// else a copy.
class Numbers {
 public:
  /// f32, f64 or i32 from any type; fractions are cut off for i32, and what it cannot hold is -1.
  Numbers(Context& ctx, ConstView from, Dtype dtype);
  const ConstView& view() const noexcept { return view_; }

 private:
  Tensor copy_;
  ConstView view_;
};

/// Type in which losses and metrics compute for predictions of this type. Errors: ShapeError unless
/// a floating one.
Dtype arithmetic_of(std::string_view operation, const ConstView& prediction);

/// Two shapes whose ranks are one apart, brought together by an axis of size 1 at the end: that of
/// the longer is dropped, or the shorter gets one where it has rank 1. Others stay as they are.
/// Source: keras.src.losses.loss.squeeze_or_expand_to_same_rank.
void align_ranks(Shape& a, Shape& b);

/// `shape` without, or with one more, last axis.
Shape without_last_axis(const Shape& shape);
Shape with_axis_of_one(const Shape& shape);

/// Reads a tensor as if it had another shape: axes of size 1 repeat, as NumPy broadcasts.
class Broadcast {
 public:
  /// Errors: ShapeError unless `from` is a single number or has to's rank with its sizes or 1.
  Broadcast(std::string_view operation, std::string_view operand, const Shape& from,
            const Shape& to);
  /// Which element of `from` stands at element `i` of `to`.
  Index operator()(Index i) const noexcept;

 private:
  Shape to_;
  Strides strides_{};
};

}  // namespace grouphead::train
