#pragma once

// Shapes of what encodes categories. Source: keras.src.utils.numerical_utils.

#include "nn/shapes.h"

namespace grouphead::nn {

/// One row of `depth` numbers for each category, without a last axis of 1 before; else one for
/// those along the second axis, of rank 1 the first. Errors: ShapeError for rank 0.
inline Shape encoded_shape(std::string_view layer, const Shape& ids, Index depth, bool is_one_hot) {
  if (ids.rank() < 1) core::throw_shape_error(layer, "input", "rank 1 or more", "[]");
  std::vector<Index> dims(ids.begin(), ids.end());
  if (is_one_hot) {
    if (dims.size() > 1 && dims.back() == 1) dims.pop_back();
  } else {
    dims.erase(dims.begin() + (dims.size() > 1 ? 1 : 0));
  }
  dims.push_back(depth);
  return Shape::partial(dims);
}

/// [outer, the axis that goes, inner]
inline Shape category_axes(const Shape& ids) {
  if (ids.rank() == 1) return {1, ids[0], 1};
  const Index rows = std::max<Index>(1, ids[0] * ids[1]);
  return {ids[0], ids[1], ids.size() / rows};
}

}  // namespace grouphead::nn
