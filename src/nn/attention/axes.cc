#include "nn/attention/axes.h"

#include <algorithm>
#include <string>
#include <vector>

#include "core/check.h"
#include "core/rows.h"

namespace grouphead::nn {
namespace {

std::string list_of(std::span<const Index> axes) {
  std::string text = "[";
  for (const Index axis : axes) {
    if (text.size() > 1) text += ", ";
    text += std::to_string(axis);
  }
  return text + "]";
}

}  // namespace

AttentionAxes::AttentionAxes(std::string_view layer, std::span<const Index> axes, int rank)
    : rank_(rank) {
  if (rank < 3) {
    core::throw_shape_error(layer, "query", "rank 3 or more", "rank " + std::to_string(rank));
  }
  std::vector<Index> chosen;
  for (Index axis = 1; axes.empty() && axis < rank - 1; ++axis) chosen.push_back(axis);
  for (const Index given : axes) {
    const Index axis = given < 0 ? given + rank : given;
    const bool is_new = std::find(chosen.begin(), chosen.end(), axis) == chosen.end();
    if (axis < 1 || axis > rank - 2 || !is_new) {
      core::throw_config_error(layer, "attention_axes",
                               "distinct axes of 1 .. " + std::to_string(rank - 2) +
                                   " (or from the end) for inputs of rank " + std::to_string(rank),
                               list_of(axes));
    }
    chosen.push_back(axis);
  }
  for (Index axis = 0; axis < rank - 1; ++axis) {
    if (std::find(chosen.begin(), chosen.end(), axis) != chosen.end()) continue;
    order_[static_cast<std::size_t>(num_batch_++)] = axis;
  }
  std::copy(chosen.begin(), chosen.end(), order_.begin() + num_batch_);
  order_[static_cast<std::size_t>(rank - 1)] = rank - 1;
  in_place_ = std::is_sorted(order_.begin(), order_.begin() + rank);
}

Shape AttentionAxes::permuted(const Shape& x) const {
  std::array<Index, kMaxRank> dims{};
  for (int i = 0; i < rank_; ++i) {
    dims[static_cast<std::size_t>(i)] = x[static_cast<int>(order_[static_cast<std::size_t>(i)])];
  }
  return Shape::partial(std::span<const Index>(dims.data(), static_cast<std::size_t>(rank_)));
}

Shape AttentionAxes::folded(const Shape& x) const {
  const Shape ordered = permuted(x);
  Index batch = 1;
  Index length = 1;
  for (int i = 0; i < rank_ - 1; ++i) (i < num_batch_ ? batch : length) *= ordered[i];
  return {batch, length, x.back()};
}

LayerInput AttentionAxes::fold(Context& ctx, const LayerInput& x, bool is_kept) const {
  if (!in_place_) return fold_copy(ctx, x.view());
  const bool stays = !is_kept && rank_ == 3 && core::as_rows(x.view()).has_value();
  return stays ? x : LayerInput(x.tensor(ctx).reshaped(folded(x.shape())));
}

Tensor AttentionAxes::fold_copy(Context& ctx, ConstView x) const {
  Strides strides{};
  for (std::size_t i = 0; i < static_cast<std::size_t>(rank_); ++i) {
    strides[i] = x.stride(static_cast<int>(order_[i]));
  }
  Tensor out = ctx.tensor(permuted(x.shape()), x.dtype());
  copy(ConstView(x.raw(), x.dtype(), out.shape(), strides), out);
  return out.reshaped(folded(x.shape()));
}

Tensor AttentionAxes::unfold(Context& ctx, const Tensor& y, const Shape& query) const {
  std::array<Index, kMaxRank> dims{};
  std::copy(query.begin(), query.end(), dims.begin());
  dims[static_cast<std::size_t>(rank_ - 1)] = y.shape().back();
  const Shape shape(std::span<const Index>(dims.data(), static_cast<std::size_t>(rank_)));
  if (in_place_) return y.reshaped(shape);
  Tensor out = ctx.tensor(shape, y.dtype());
  Strides strides{};
  for (std::size_t i = 0; i < static_cast<std::size_t>(rank_); ++i) {
    strides[i] = out.view().stride(static_cast<int>(order_[i]));
  }
  const Shape ordered = permuted(shape);
  const Tensor folded = y.reshaped(ordered);
  copy(folded, View(out.view().raw(), out.dtype(), ordered, strides));
  return out;
}

Shape AttentionAxes::scores(const Shape& query, Index num_heads, const Shape& value) const {
  std::vector<Index> dims;
  for (const Index axis : batch_axes()) dims.push_back(query[static_cast<int>(axis)]);
  dims.push_back(num_heads);
  for (const Shape* x : {&query, &value}) {
    for (const Index axis : axes()) dims.push_back((*x)[static_cast<int>(axis)]);
  }
  return Shape::partial(dims);
}

}  // namespace grouphead::nn
