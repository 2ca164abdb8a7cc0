#pragma once

// What the layers that merge a list of inputs share.

#include <initializer_list>
#include <vector>

#include "grouphead/layers/layer.h"

namespace grouphead::nn {

/// [B, rest] as [B, 1, ..., 1, rest] of this rank. Works on views of any strides.
template <class V>
V expanded(const V& x, int rank) {
  std::array<Index, kMaxRank> dims{};
  Strides strides{};
  const int added = rank - x.rank();
  for (int axis = 0; axis < rank; ++axis) {
    const auto i = static_cast<std::size_t>(axis);
    const bool is_new = axis > 0 && axis <= added;
    const int source = axis == 0 ? 0 : axis - added;
    dims[i] = is_new ? 1 : x.dim(source);
    strides[i] = is_new ? 0 : x.stride(source);
  }
  const Shape shape(std::span<const Index>(dims.data(), static_cast<std::size_t>(rank)));
  return {x.raw(), x.dtype(), shape, strides};
}

std::vector<Value> values_of(std::initializer_list<Tensor> tensors);
std::vector<Shape> shapes_of(std::span<const Value> values);
Dtype result_type_of(std::span<const Value> values);
/// Errors: ShapeError unless there are inputs, each of rank 1 or more.
void require_inputs(std::string_view layer, std::span<const Shape> inputs);
/// True where one of the masks is; none where a mask is missing.
std::optional<Tensor> either_mask(Context& ctx, std::string_view layer,
                                  std::span<const Value> values);
/// A value's mask as [..., 1], where its tensor has this rank.
Tensor step_mask(const Value& value, int rank);
/// x where the mask is true, else `other`.
Tensor where(Context& ctx, std::string_view layer, const Tensor& mask, const Tensor& x,
             double other);

}  // namespace grouphead::nn
