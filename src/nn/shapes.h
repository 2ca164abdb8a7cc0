#pragma once

// Shapes made from shapes, whose axes may be unknown. Nothing is allocated: decoding calls these.

#include <algorithm>
#include <array>
#include <span>
#include <string>

#include "core/check.h"
#include "grouphead/core/tensor.h"

namespace grouphead::nn {

/// `axis` counted from the front. Errors: ShapeError for one that a tensor of this rank has not.
inline int positive_axis(std::string_view layer, Index axis, int rank) {
  if (axis < -rank || axis >= rank) {
    core::throw_shape_error(layer, "axis", "one of a tensor of rank " + std::to_string(rank),
                            std::to_string(axis));
  }
  return static_cast<int>(axis < 0 ? axis + rank : axis);
}

inline Shape with_appended_axis(const Shape& shape, Index size) {
  std::array<Index, kMaxRank + 1> dims{};
  std::copy(shape.begin(), shape.end(), dims.begin());
  dims[static_cast<std::size_t>(shape.rank())] = size;
  return Shape::partial(
      std::span<const Index>(dims.data(), static_cast<std::size_t>(shape.rank() + 1)));
}

inline Shape with_leading_axis(Index size, const Shape& shape) {
  std::array<Index, kMaxRank + 1> dims{size};
  std::copy(shape.begin(), shape.end(), dims.begin() + 1);
  return Shape::partial(
      std::span<const Index>(dims.data(), static_cast<std::size_t>(shape.rank() + 1)));
}

/// Axes [begin, end).
inline Shape part_of(const Shape& shape, int begin, int end) {
  return Shape::partial(
      std::span<const Index>(shape.begin() + begin, static_cast<std::size_t>(end - begin)));
}

/// The shape of tensors joined along one axis, counted from the front.
/// Errors: ShapeError for shapes that differ on another axis.
Shape joined_shape(std::string_view layer, std::span<const Shape> shapes, int axis);
/// `target` (at most one axis of -1) for the elements of `from`; -1 stays where `from` has unknown
/// axes. Errors: ShapeError for another number of elements.
Shape reshaped_shape(std::string_view layer, const Shape& from, const Shape& target);

inline Shape without_last_axis(const Shape& shape) { return part_of(shape, 0, shape.rank() - 1); }

}  // namespace grouphead::nn
