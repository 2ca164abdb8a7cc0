#include "nn/layers/normalized_axes.h"

#include <algorithm>

#include "core/rows.h"
#include "nn/shapes.h"
#include "ops/strided.h"

namespace grouphead::nn {

std::vector<Index> axes_from_config(std::string_view layer, const ConfigValue& value) {
  if (value.is_integer()) return {value.as_integer("axis")};
  std::vector<Index> axes;
  for (const ConfigValue& axis : value.as_list(layer)) axes.push_back(axis.as_integer("axis"));
  return axes;
}

ConfigValue axes_config(const std::vector<Index>& axes, bool is_built) {
  if (axes.size() == 1 && !is_built) return axes[0];
  std::vector<Index> written = axes;
  if (is_built) std::sort(written.begin(), written.end());
  return ConfigValue::List(written.begin(), written.end());
}

Shape parameter_shape(std::string_view layer, std::vector<Index> axes, const Shape& input) {
  std::sort(axes.begin(), axes.end());
  std::vector<Index> dims;
  std::vector<int> seen;
  for (const Index axis : axes) {
    const int at = positive_axis(layer, axis, input.rank());
    if (std::find(seen.begin(), seen.end(), at) != seen.end()) {
      core::throw_shape_error(layer, "axis", "each axis once", std::to_string(axis) + " again");
    }
    if (input[at] < 1) {
      core::throw_shape_error(layer, "input",
                              "a known size of 1 or more on axis " + std::to_string(axis),
                              input.to_string());
    }
    seen.push_back(at);
    dims.push_back(input[at]);
  }
  return Shape(dims);
}

NormalizedRows::NormalizedRows(std::string_view layer, const std::vector<Index>& axes, Index width,
                               const Shape& shape)
    : rank_(static_cast<std::size_t>(shape.rank())), width_(width) {
  std::array<bool, kMaxRank> is_normalized{};
  for (const Index axis : axes) {
    is_normalized[static_cast<std::size_t>(positive_axis(layer, axis, shape.rank()))] = true;
  }
  Index elements = 1;
  std::size_t next = 0;
  for (const bool pass : {false, true}) {
    for (int axis = 0; axis < shape.rank(); ++axis) {
      if (is_normalized[static_cast<std::size_t>(axis)] != pass) continue;
      is_trailing_ = is_trailing_ && static_cast<std::size_t>(axis) == next;
      order_[next++] = axis;
      if (pass) elements *= shape[axis];
    }
  }
  if (elements != width) {
    core::throw_shape_error(layer, "input",
                            std::to_string(width) + " elements on the normalised axes",
                            shape.to_string());
  }
  num_rows_ = shape.size() / width;
}

Tensor NormalizedRows::gather(Context& ctx, ConstView x) const {
  const ConstView view = ops::permuted(x, order());
  Tensor moved = ctx.tensor(rows(), x.dtype());
  ops::copy_elements(ctx, view, moved.view().reshaped(view.shape()));
  return moved;
}

void NormalizedRows::scatter(Context& ctx, ConstView rows, View to) const {
  const View view = ops::permuted(to, order());
  ops::copy_elements(ctx, rows.reshaped(view.shape()), view);
}

void NormalizedRows::add(Context& ctx, ConstView rows, View to) const {
  const View view = ops::permuted(to, order());
  ops::add_elements(ctx, rows.reshaped(view.shape()), view);
}

InputRows::InputRows(Context& ctx, const NormalizedRows& layout, const LayerInput& x,
                     bool is_kept) {
  if (layout.is_trailing() && !is_kept) {
    view_ = core::as_rows(x.view());
    if (view_.has_value() && view_.shape() == layout.rows()) return;
  }
  tensor_ =
      layout.is_trailing() ? x.tensor(ctx).reshaped(layout.rows()) : layout.gather(ctx, x.view());
  view_ = std::as_const(tensor_).view();
}

}  // namespace grouphead::nn
