#include "nn/shapes.h"

#include <algorithm>
#include <vector>

namespace grouphead::nn {

Shape joined_shape(std::string_view layer, std::span<const Shape> shapes, int axis) {
  const Shape& first = shapes[0];
  std::vector<Index> dims(first.begin(), first.end());
  for (const Shape& shape : shapes.subspan(1)) {
    bool fits = shape.rank() == first.rank();
    for (int i = 0; fits && i < first.rank(); ++i) {
      Index& dim = dims[static_cast<std::size_t>(i)];
      if (i == axis) {
        dim = dim < 0 || shape[i] < 0 ? -1 : dim + shape[i];
      } else {
        fits = dim < 0 || shape[i] < 0 || dim == shape[i];
        dim = std::max(dim, shape[i]);
      }
    }
    if (!fits) {
      core::throw_shape_error(layer, "inputs", "equal shapes but for axis " + std::to_string(axis),
                              first.to_string() + " and " + shape.to_string());
    }
  }
  return Shape::partial(dims);
}

Shape reshaped_shape(std::string_view layer, const Shape& from, const Shape& target) {
  if (!from.is_complete()) return target;
  std::vector<Index> dims(target.begin(), target.end());
  Index known = 1;
  for (const Index dim : dims) known *= dim < 0 ? 1 : dim;
  const auto open = std::find(dims.begin(), dims.end(), -1);
  const bool fits =
      open == dims.end() ? known == from.size() : known != 0 && from.size() % known == 0;
  if (!fits) {
    core::throw_shape_error(layer, "input", "elements that fill " + target.to_string(),
                            from.to_string());
  }
  if (open != dims.end()) *open = from.size() / known;
  return Shape(dims);
}

}  // namespace grouphead::nn
