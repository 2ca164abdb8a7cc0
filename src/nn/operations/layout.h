#pragma once

// Where a result lies in its operand, for operations that move no numbers.

#include <type_traits>
#include <vector>

#include "grouphead/core/tensor.h"

namespace grouphead::nn {

/// How a result lies in its operand: where it starts, and the size and stride of each axis. Sizes
/// may be unknown (-1) where only shapes are asked for.
struct Layout {
  Index offset = 0;
  std::vector<Index> dims;
  std::vector<Index> strides;

  static Layout of(const Shape& shape, const Strides& strides) {
    Layout layout;
    for (int axis = 0; axis < shape.rank(); ++axis) {
      layout.push(shape[axis], strides[static_cast<std::size_t>(axis)]);
    }
    return layout;
  }
  void push(Index dim, Index stride) {
    dims.push_back(dim);
    strides.push_back(stride);
  }
  int rank() const noexcept { return static_cast<int>(dims.size()); }
  Shape shape() const { return Shape::partial(dims); }

  template <class V>
  V view(const V& base) const {
    Strides all{};
    for (std::size_t i = 0; i < strides.size(); ++i) all[i] = strides[i];
    using Byte = std::conditional_t<std::is_same_v<V, View>, std::byte, const std::byte>;
    auto* start = static_cast<Byte*>(base.raw()) + offset * size_of(base.dtype());
    return V(start, base.dtype(), Shape(dims), all);
  }
};

}  // namespace grouphead::nn
