#pragma once

// What every layer checks the same way.

#include <algorithm>
#include <array>
#include <span>

#include "core/check.h"
#include "grouphead/layers/layer.h"

namespace grouphead::nn {

/// Errors: ConfigError unless the layer computes in f32 or f64.
void require_float(std::string_view layer, Dtype dtype);
/// Errors: ConfigError for a second build().
void require_unbuilt(std::string_view layer, bool is_built);
/// Errors: ConfigError for a call before build().
void require_built(std::string_view layer, bool is_built);
/// Errors: ShapeError unless low <= count <= high.
void require_count(std::string_view layer, std::string_view what, std::size_t count,
                   std::size_t low, std::size_t high);
/// Errors: ShapeError unless x has rank 1 or more, `width` (-1: any) as last axis, and type
/// `dtype`.
void require_last_axis(std::string_view layer, const ConstView& x, Index width, Dtype dtype);
/// The same of a shape, whose axes may be unknown.
void require_last_axis(std::string_view layer, const Shape& shape, Index width);
/// The widths of build(): ShapeError for another number of shapes, or for rank 0 or width 0.
Index built_width(std::string_view layer, std::span<const Shape> inputs);

/// Errors: ShapeError for a value with a mask, where the layer cannot honour one.
void require_no_mask(std::string_view layer, std::string_view operand, const Value& value);

[[noreturn]] void throw_foreign_saved(std::string_view layer);

/// What the layer's own forward() kept. Errors: ConfigError for what another layer kept.
template <class S>
S& saved_as(std::string_view layer, Saved& saved) {
  auto* own = dynamic_cast<S*>(&saved);
  if (own == nullptr) throw_foreign_saved(layer);
  return *own;
}

/// A tensor with the elements of `view`.
inline Tensor copied(Context& ctx, ConstView view) {
  Tensor out = ctx.tensor(view.shape(), view.dtype());
  copy(view, out);
  return out;
}

/// `shape` with another last axis.
inline Shape with_last_axis(const Shape& shape, Index width) {
  std::array<Index, kMaxRank> dims{};
  std::copy(shape.begin(), shape.end(), dims.begin());
  dims[static_cast<std::size_t>(shape.rank() - 1)] = width;
  return Shape::partial(
      std::span<const Index>(dims.data(), static_cast<std::size_t>(shape.rank())));
}

}  // namespace grouphead::nn
