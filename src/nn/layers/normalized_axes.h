#pragma once

// The axes of a normalisation, and tensors as rows of what is normalised together.

#include <vector>

#include "grouphead/core/config_value.h"
#include "grouphead/core/context.h"
#include "grouphead/layers/layer_input.h"

namespace grouphead::nn {

/// Axes as a configuration holds them: an integer or a list.
std::vector<Index> axes_from_config(std::string_view layer, const ConfigValue& value);
/// As Keras writes them: build() makes a sorted list of an integer.
ConfigValue axes_config(const std::vector<Index>& axes, bool is_built);

/// Keras's shape of gamma and beta: the sizes of the sorted axes.
/// Errors: ShapeError for axes that the input has not, has twice, or whose size is unknown or 0.
Shape parameter_shape(std::string_view layer, std::vector<Index> axes, const Shape& input);

/// x [...] as rows [R, width] of the normalised axes, and back. Errors: ShapeError unless x has
/// these axes and they hold `width` elements.
class NormalizedRows {
 public:
  NormalizedRows(std::string_view layer, const std::vector<Index>& axes, Index width,
                 const Shape& shape);

  /// Whether the axes are the last ones, so that no element moves.
  bool is_trailing() const noexcept { return is_trailing_; }
  Shape rows() const { return {num_rows_, width_}; }
  Index num_rows() const noexcept { return num_rows_; }
  /// The elements of x, moved where needed.
  Tensor gather(Context& ctx, ConstView x) const;
  /// to = rows, or to += rows.
  void scatter(Context& ctx, ConstView rows, View to) const;
  void add(Context& ctx, ConstView rows, View to) const;

 private:
  std::array<int, kMaxRank> order_{};
  std::size_t rank_ = 0;
  bool is_trailing_ = true;
  Index num_rows_ = 0;
  Index width_ = 0;

  std::span<const int> order() const noexcept { return {order_.data(), rank_}; }
};

/// The rows of an input: those of a view in place where they are evenly spaced and nobody keeps
/// them, else a tensor's, shared or copied.
class InputRows {
 public:
  InputRows(Context& ctx, const NormalizedRows& layout, const LayerInput& x, bool is_kept);
  ConstView view() const noexcept { return view_; }
  /// Absent where the rows are a view's, in place.
  const Tensor& tensor() const noexcept { return tensor_; }

 private:
  Tensor tensor_;
  ConstView view_;
};

}  // namespace grouphead::nn
