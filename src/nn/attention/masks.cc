#include "nn/attention/masks.h"

#include "core/check.h"
#include "ops/broadcasting.h"
#include "ops/convert.h"

namespace grouphead::nn {
namespace {

template <class T>
void fill_nonzero(ConstView from, bool* to) {
  const T* values = from.data<T>();
  for (Index i = 0; i < from.size(); ++i) to[i] = values[i] != 0;
}

// The axes [first, last) of scores that become one axis.
struct Group {
  int first;
  int last;
};

using Dims = std::array<Index, kMaxRank>;

// x with an axis for each of the scores': strides of the axes it lacks, or has as 1, are 0.
struct Expanded {
  Dims dims{};
  Strides strides{};
};

Expanded expanded(std::string_view layer, std::string_view operand, const Tensor& x,
                  const Shape& scores, int num_lengths) {
  const int missing = scores.rank() - x.rank();
  const int leading = x.rank() - num_lengths;  // axes of x before those of the lengths
  Expanded full;
  bool fits = missing >= 0 && leading >= 0;
  for (int i = 0; fits && i < scores.rank(); ++i) {
    const bool is_missing = i >= leading && i < leading + missing;
    const int own = i < leading ? i : i - missing;
    const Index size = is_missing ? 1 : x.dim(own);
    full.dims[static_cast<std::size_t>(i)] = size;
    full.strides[static_cast<std::size_t>(i)] = size == 1 ? 0 : x.view().stride(own);
    fits = size == 1 || size == scores[i];
  }
  if (!fits) {
    core::throw_shape_error(
        layer, operand,
        "the scores' axes " + scores.to_string() +
            " or 1 in their place, without the heads' or more of those before the "
            "last " +
            std::to_string(num_lengths),
        x.shape().to_string());
  }
  return full;
}

// Product of the group's axes: of x where these are all 1 or all full, else of scores.
Index folded_size(const Dims& x, const Shape& scores, Group group, bool& is_mixed) {
  Index size = 1;
  Index full = 1;
  for (int i = group.first; i < group.last; ++i) {
    size *= x[static_cast<std::size_t>(i)];
    full *= scores[i];
  }
  is_mixed = size != 1 && size != full;
  return is_mixed ? full : size;
}

}  // namespace

Tensor bool_mask(Context& ctx, std::string_view layer, std::string_view operand,
                 const Tensor& mask) {
  if (!mask.has_value() || mask.dtype() == Dtype::boolean) return mask;
  Tensor out = ctx.tensor(mask.shape(), Dtype::boolean);
  if (ops::is_floating(mask.dtype())) {
    // Keras's paths agree about these two values alone.
    if (ops::convert_exactly(mask, out) < 0) return out;
    core::throw_shape_error(layer, operand,
                            "bool, integers, or 0 and 1 alone (what is added is attention_bias)",
                            "other values of " + std::string(name_of(mask.dtype())));
  }
  bool* to = out.data<bool>();
  if (mask.dtype() == Dtype::u8) fill_nonzero<std::uint8_t>(mask, to);
  if (mask.dtype() == Dtype::i32) fill_nonzero<std::int32_t>(mask, to);
  if (mask.dtype() == Dtype::i64) fill_nonzero<std::int64_t>(mask, to);
  return out;
}

Tensor both(Context& ctx, const Tensor& a, const Tensor& b) {
  if (!a.has_value()) return b;
  if (!b.has_value()) return a;
  Tensor out = ctx.tensor(a.shape(), Dtype::boolean);
  ops::combine(ctx, ops::Logical::both, a, b, out);
  return out;
}

Tensor repeated(Context& ctx, const Tensor& mask, Index batches) {
  if (!mask.has_value() || mask.dim(0) == batches) return mask;
  const Index batch = mask.dim(0);
  const Index length = mask.dim(1);
  Tensor out = ctx.tensor({batch, batch == 0 ? 0 : batches / batch, length}, Dtype::boolean);
  copy(ConstView(mask.view().raw(), Dtype::boolean, out.shape(), Strides{length, 0, 1}), out);
  return out.reshaped({batches, length});
}

Tensor folded_mask(Context& ctx, std::string_view layer, std::string_view operand, const Tensor& x,
                   const Shape& scores, const AttentionAxes& axes, bool in_place) {
  if (!x.has_value()) return x;
  Expanded full = expanded(layer, operand, x, scores, 2 * axes.num_attention_axes());
  const int rank = scores.rank();
  const int heads = axes.num_batch_axes();
  const int keys = heads + 1 + axes.num_attention_axes();
  const Group groups[] = {{0, heads}, {heads, heads + 1}, {heads + 1, keys}, {keys, rank}};
  std::array<Index, 4> folded{};
  bool needs_copy = false;
  for (std::size_t i = 0; i < folded.size(); ++i) {
    bool is_mixed = false;
    folded[i] = folded_size(full.dims, scores, groups[i], is_mixed);
    for (int axis = groups[i].first; is_mixed && axis < groups[i].last; ++axis) {
      full.dims[static_cast<std::size_t>(axis)] = scores[axis];
    }
    needs_copy = needs_copy || is_mixed;
  }
  if (!needs_copy) return x.reshaped(Shape(folded));
  if (in_place) {
    core::throw_shape_error(layer, operand,
                            "all or none of the axes that attention takes as one to be 1",
                            x.shape().to_string());
  }
  Tensor out = ctx.tensor(
      Shape(std::span<const Index>(full.dims.data(), static_cast<std::size_t>(rank))), x.dtype());
  copy(ConstView(x.view().raw(), x.dtype(), out.shape(), full.strides), out);
  return out.reshaped(Shape(folded));
}

}  // namespace grouphead::nn
