// Operations that move or repeat elements.

#include <algorithm>
#include <limits>

#include "core/check.h"
#include "nn/operations/traced.h"
#include "nn/shapes.h"

namespace grouphead::nn {
namespace {

using namespace steps;
using Results = std::vector<Var>;

Index sum_of(Index a, Index b) noexcept { return a < 0 || b < 0 ? -1 : a + b; }

Results flip(TracedCall& call) {
  Var y = call[0];
  for (const int axis : call.axes(y.rank())) y = flipped(y, axis);
  return {y};
}

template <int Axis>
Results flip_axis(TracedCall& call) {
  return {flipped(call[0], positive_axis(call.name(), Axis, call[0].rank()))};
}

Var rolled(Var x, int axis, Index shift) {
  const Index size = x.dim(axis);
  const auto indices = [size, shift] {
    std::vector<Index> made;
    for (Index i = 0; i < size; ++i) made.push_back((i - shift % size + size) % size);
    return made;
  };
  return picked(x, axis, size, indices);
}

Results roll(TracedCall& call) {
  const Var x = call[0];
  std::vector<Index> shifts = call.integers("shift");
  if (call["axis"].is_null()) {
    Var y = flattened(x);
    for (const Index shift : shifts) y = rolled(y, 0, shift);
    return {reshaped(y, x.shape())};
  }
  std::vector<Index> axes = call.integers("axis");
  if (shifts.size() == 1) shifts.resize(axes.size(), shifts[0]);
  if (axes.size() == 1) axes.resize(shifts.size(), axes[0]);
  if (axes.size() != shifts.size()) call.refuse("shift", "one for each axis");
  Var y = x;
  for (std::size_t i = 0; i < axes.size(); ++i) {
    y = rolled(y, positive_axis(call.name(), axes[i], x.rank()), shifts[i]);
  }
  return {y};
}

Results rotate(TracedCall& call) {
  const Var x = call[0];
  std::vector<Index> axes{0, 1};
  if (!call["axes"].is_null()) axes = call.integers("axes");
  if (axes.size() != 2) call.refuse("axes", "two axes");
  const int a = positive_axis(call.name(), axes[0], x.rank());
  const int b = positive_axis(call.name(), axes[1], x.rank());
  if (a == b) call.refuse("axes", "two axes");
  Axes order = all_axes(x.rank());
  std::swap(order[static_cast<std::size_t>(a)], order[static_cast<std::size_t>(b)]);
  switch (((call.integer("k", 1) % 4) + 4) % 4) {
    case 1:
      return {transposed(flipped(x, b), order)};
    case 2:
      return {flipped(flipped(x, a), b)};
    case 3:
      return {flipped(transposed(x, order), b)};
    default:
      return {x};
  }
}

Results repeat(TracedCall& call) {
  const bool is_flat = call["axis"].is_null();
  const Var x = is_flat ? flattened(call[0]) : call[0];
  const int axis = is_flat ? 0 : call.axis(x.rank(), 0);
  const std::vector<Index> repeats = call.integers("repeats");
  const Index size = x.dim(axis);
  const bool is_one = repeats.size() == 1;
  if (std::any_of(repeats.begin(), repeats.end(), [](Index n) { return n < 0; }) ||
      (!is_one && size >= 0 && static_cast<Index>(repeats.size()) != size)) {
    call.refuse("repeats", "0 or more, for each element");
  }
  Index count = size < 0 ? -1 : 0;
  if (is_one && size >= 0) {
    const Index most = std::numeric_limits<Index>::max() / std::max<Index>(size, 1);
    if (repeats[0] > most) call.refuse("repeats", "a size that tensors can have");
    count = size * repeats[0];
  } else {
    for (const Index n : repeats) count = sum_of(count, n);
  }
  const auto indices = [repeats, size, is_one] {
    std::vector<Index> made;
    for (Index i = 0; i < size; ++i) {
      made.insert(made.end(),
                  static_cast<std::size_t>(repeats[is_one ? 0 : static_cast<std::size_t>(i)]), i);
    }
    return made;
  };
  return {picked(x, axis, count, indices)};
}

Results tile(TracedCall& call) {
  Var x = call[0];
  std::vector<Index> repeats = call.integers("repeats");
  while (static_cast<int>(repeats.size()) < x.rank()) repeats.insert(repeats.begin(), 1);
  while (x.rank() < static_cast<int>(repeats.size())) x = expanded(x, 0);
  for (int axis = 0; axis < x.rank(); ++axis) {
    const Index times = repeats[static_cast<std::size_t>(axis)];
    const Index size = x.dim(axis);
    if (times < 0) call.refuse("repeats", "0 or more");
    if (size > 0 && times > std::numeric_limits<Index>::max() / size) {
      call.refuse("repeats", "a size that tensors can have");
    }
    if (times == 1) continue;
    const auto indices = [times, size] {
      std::vector<Index> made;
      for (Index i = 0; i < times * size; ++i) made.push_back(i % size);
      return made;
    };
    x = picked(x, axis, size < 0 ? -1 : times * size, indices);
  }
  return {x};
}

/// Indices of an axis padded by `before` and `after`: -1 for constants.
std::vector<Index> padded_indices(const std::string& mode, Index size, Index before, Index after) {
  std::vector<Index> made;
  // "reflect" repeats all but the ends, "symmetric" the ends too.
  const Index period = mode == "reflect" ? std::max<Index>(1, 2 * size - 2) : 2 * size;
  for (Index i = -before; i < size + after; ++i) {
    if (i >= 0 && i < size) {
      made.push_back(i);
    } else if (mode == "constant") {
      made.push_back(-1);
    } else if (mode == "edge") {
      made.push_back(std::clamp<Index>(i, 0, size - 1));
    } else if (mode == "wrap") {
      made.push_back((i % size + size) % size);
    } else {
      const Index at = (i % period + period) % period;
      made.push_back(at < size ? at : (mode == "reflect" ? period : period - 1) - at);
    }
  }
  return made;
}

Results pad(TracedCall& call) {
  Var x = call[0];
  const std::string mode =
      call["mode"].is_null() ? std::string("constant") : call["mode"].as_string("mode");
  constexpr std::string_view kModes[] = {"constant", "edge", "reflect", "symmetric", "wrap"};
  if (std::find(std::begin(kModes), std::end(kModes), mode) == std::end(kModes)) {
    call.refuse("mode", "constant, edge, reflect, symmetric or wrap");
  }
  const ConfigValue& constant = call.literal(1);
  const double fill = constant.is_null() ? 0 : constant.as_number("constant_values");
  // One number, one pair, or a pair for each axis.
  const ConfigValue& given = call["pad_width"];
  ConfigValue::List widths{given};
  if (given.is_list() && !given.as_list("pad_width").empty() &&
      given.as_list("pad_width")[0].is_list()) {
    widths = given.as_list("pad_width");
  }
  if (widths.size() != 1 && static_cast<int>(widths.size()) != x.rank()) {
    call.refuse("pad_width", "[before, after] for each axis");
  }
  constexpr Index kMost = Index{1} << 40;
  for (int axis = 0; axis < x.rank(); ++axis) {
    const ConfigValue& one = widths[widths.size() == 1 ? 0 : static_cast<std::size_t>(axis)];
    const ConfigValue::List width =
        one.is_list() ? one.as_list("pad_width") : ConfigValue::List{one};
    if (width.empty() || width.size() > 2) call.refuse("pad_width", "[before, after]");
    const Index before = width.front().as_integer("pad_width");
    const Index after = width.back().as_integer("pad_width");
    const Index size = x.dim(axis);
    if (before < 0 || after < 0 || before > kMost || after > kMost) {
      call.refuse("pad_width", "0 or more");
    }
    if (before == 0 && after == 0) continue;
    if (size == 0 && mode != "constant") {
      core::throw_shape_error(call.name(), "x", "elements to pad with", x.shape().to_string());
    }
    const auto indices = [mode, size, before, after] {
      return padded_indices(mode, size, before, after);
    };
    x = picked(x, axis, size < 0 ? -1 : size + before + after, indices, fill);
  }
  return {x};
}

Results move_axes(TracedCall& call) {
  const Var x = call[0];
  const std::vector<Index> from = call.integers("source");
  const std::vector<Index> to = call.integers("destination");
  if (from.size() != to.size()) call.refuse("source", "as many axes as destination");
  Axes order(static_cast<std::size_t>(x.rank()), -1);
  Axes rest = all_axes(x.rank());
  for (std::size_t i = 0; i < from.size(); ++i) {
    const int source = positive_axis(call.name(), from[i], x.rank());
    const int target = positive_axis(call.name(), to[i], x.rank());
    const auto found = std::find(rest.begin(), rest.end(), source);
    if (found == rest.end() || order[static_cast<std::size_t>(target)] >= 0) {
      call.refuse("source", "each axis once");
    }
    rest.erase(found);
    order[static_cast<std::size_t>(target)] = source;
  }
  auto next = rest.begin();
  for (int& axis : order) {
    if (axis < 0) axis = *next++;
  }
  return {transposed(x, order)};
}

/// x where `keeps(row, column)` holds in the last two axes, zero elsewhere.
template <bool Lower>
Results triangle(TracedCall& call) {
  const Var x = call[0];
  if (x.rank() < 2) {
    core::throw_shape_error(call.name(), "x", "rank 2 or more", x.shape().to_string());
  }
  const Index k = call.integer("k", 0);
  const Index rows = x.dim(x.rank() - 2);
  const Index columns = x.dim(x.rank() - 1);
  Tensor kept;
  if (call.trace.computes()) {
    kept = call.trace.ctx().tensor(Shape({rows, columns}), Dtype::boolean);
    bool* at = kept.data<bool>();
    for (Index i = 0; i < rows; ++i) {
      for (Index j = 0; j < columns; ++j) *at++ = Lower ? j - i <= k : j - i >= k;
    }
  }
  const OperandType truth{Dtype::boolean, false};
  const Var keeps = call.trace.computes()
                        ? call.trace.given(kept, truth)
                        : call.trace.given(Shape::partial({rows, columns}), truth);
  return {select(keeps, x, cast(literal(call.trace, Index{0}), x.dtype()))};
}

/// The elements (i, i + offset) of two axes, as a new last axis.
Var diagonal_of(Var x, int axis1, int axis2, Index offset) {
  const Layout from = layout_of(x);
  const auto a = static_cast<std::size_t>(axis1);
  const auto b = static_cast<std::size_t>(axis2);
  Layout kept;
  constexpr Index kMost = Index{1} << 31;  // beyond all sizes, within what products of strides take
  offset = std::clamp<Index>(offset, -kMost, kMost);
  kept.offset = offset >= 0 ? offset * from.strides[b] : -offset * from.strides[a];
  for (std::size_t i = 0; i < from.dims.size(); ++i) {
    if (i != a && i != b) kept.push(from.dims[i], from.strides[i]);
  }
  Index size = -1;
  if (from.dims[a] >= 0 && from.dims[b] >= 0) {
    const Index rows = from.dims[a] + std::min<Index>(offset, 0);
    const Index columns = from.dims[b] - std::max<Index>(offset, 0);
    size = std::max<Index>(0, std::min(rows, columns));
    if (size == 0) kept.offset = 0;
  }
  kept.push(size, from.strides[a] + from.strides[b]);
  return arranged(x, kept);
}

Var diagonal_by(const TracedCall& call) {
  const Var x = call[0];
  const int a = positive_axis(call.name(), call.integer("axis1", 0), x.rank());
  const int b = positive_axis(call.name(), call.integer("axis2", 1), x.rank());
  if (a == b) call.refuse("axis1", "two axes");
  return diagonal_of(x, a, b, call.integer("offset", 0));
}

Results diagonal(TracedCall& call) { return {diagonal_by(call)}; }

Results trace_of(TracedCall& call) {
  const Var line = diagonal_by(call);
  return {sum(line, {line.rank() - 1}, false)};
}

/// A matrix with the vector x on diagonal k.
Var on_diagonal(Var x, Index k) {
  const Index size = x.dim(0);
  if (size < 0) return reshaped(x, Shape::partial({-1, -1}));
  if (std::abs(k) > (Index{1} << 31)) {
    core::throw_shape_error(x.trace().name(), "k", "a diagonal of a matrix", std::to_string(k));
  }
  const Index side = size + std::abs(k);
  const Index count = Shape({side, side}).size();
  const auto indices = [=] {
    std::vector<Index> made(static_cast<std::size_t>(count), -1);
    for (Index i = 0; i < size; ++i) {
      const Index row = k < 0 ? i - k : i;
      made[static_cast<std::size_t>(row * side + row + k)] = i;
    }
    return made;
  };
  return reshaped(picked(x, 0, count, indices), Shape({side, side}));
}

Results diag(TracedCall& call) {
  const Var x = call[0];
  const Index k = call.integer("k", 0);
  if (x.rank() == 1) return {on_diagonal(x, k)};
  if (x.rank() == 2) return {diagonal_of(x, 0, 1, k)};
  core::throw_shape_error(call.name(), "x", "rank 1 or 2", x.shape().to_string());
}

/// Parts of `shape` from `start_indices`, which are cut so that the part fits.
std::vector<Index> starts(const TracedCall& call) {
  std::vector<Index> list;
  const ConfigValue& given = call.literal(1);
  for (const ConfigValue& one : given.as_list("start_indices")) {
    constexpr Index kMost = Index{1} << 40;  // so that sums with sizes do not overflow
    list.push_back(std::clamp<Index>(one.as_integer("start_indices"), -kMost, kMost));
  }
  if (static_cast<int>(list.size()) != call[0].rank()) {
    core::throw_shape_error(call.name(), "start_indices", "one for each axis", given.to_string());
  }
  return list;
}

Results slice(TracedCall& call) {
  Var x = call[0];
  const std::vector<Index> begins = starts(call);
  const std::vector<Index> sizes = call.integers("shape");
  if (sizes.size() != begins.size()) call.refuse("shape", "a size for each axis");
  for (int axis = 0; axis < x.rank(); ++axis) {
    const Index dim = x.dim(axis);
    Index begin = begins[static_cast<std::size_t>(axis)];
    if (begin < 0 && dim >= 0) begin += dim;
    Index size = sizes[static_cast<std::size_t>(axis)];
    if (size == -1) size = dim < 0 ? -1 : dim - begin;
    if (dim >= 0 && (size < 0 || size > dim)) call.refuse("shape", "sizes that x has");
    begin = dim < 0 ? 0 : std::clamp<Index>(begin, 0, dim - size);
    x = sliced(x, axis, begin, size < 0 ? -1 : begin + size);
  }
  return {x};
}

Results slice_update(TracedCall& call) {
  const Var x = call[0];
  const std::vector<Index> begins = starts(call);
  const Var updates = cast(call[2], x.dtype());
  if (updates.rank() != x.rank()) {
    core::throw_shape_error(call.name(), "updates", "x's rank", updates.shape().to_string());
  }
  Var y = updates;
  Var is_new = filled(call.trace, 1, updates.shape(), Dtype::boolean);
  for (int axis = 0; axis < x.rank(); ++axis) {
    const Index size = updates.dim(axis);
    const Index dim = x.dim(axis);
    if (dim >= 0 && size > dim) {
      core::throw_shape_error(call.name(), "updates", x.shape().to_string() + " at most",
                              updates.shape().to_string());
    }
    Index begin = begins[static_cast<std::size_t>(axis)];
    begin = std::clamp<Index>(begin < 0 ? begin + dim : begin, 0, std::max<Index>(dim - size, 0));
    const auto indices = [begin, size, dim] {
      return padded_indices("constant", size, begin, dim - size - begin);
    };
    y = picked(y, axis, dim, indices);
    is_new = picked(is_new, axis, dim, indices);
  }
  return {select(is_new, y, x)};
}

/// Blocks of `block` x `block` places against as many channels.
template <bool ToDepth>
Results space_and_depth(TracedCall& call) {
  const Var x = call[0];
  const std::string format = call["data_format"].is_null()
                                 ? std::string("channels_last")
                                 : call["data_format"].as_string("data_format");
  const Index block = call.integer("block_size", 1);
  if (x.rank() != 4 || block < 1 || block > (Index{1} << 20)) {
    core::throw_shape_error(call.name(), "x", "rank 4 and a block_size of 1 or more",
                            x.shape().to_string());
  }
  const bool is_last = format == "channels_last";
  const Var last = is_last ? x : moved(x, 1, 3);
  const Shape s = last.shape();
  const auto part = [block](Index dim) { return dim < 0 ? -1 : dim / block; };
  const auto whole = [block](Index dim) { return dim < 0 ? -1 : dim * block; };
  Var y;
  if (ToDepth) {
    const Shape cut = Shape::partial({s[0], part(s[1]), block, part(s[2]), block, s[3]});
    // Channels first counts the channels slowest, channels last the places.
    const Axes order = is_last ? Axes{0, 1, 3, 2, 4, 5} : Axes{0, 1, 3, 5, 2, 4};
    y = reshaped(transposed(reshaped(last, cut), order),
                 Shape::partial({s[0], part(s[1]), part(s[2]), whole(whole(s[3]))}));
  } else {
    const Index channels = part(part(s[3]));
    const Shape cut = is_last ? Shape::partial({s[0], s[1], s[2], block, block, channels})
                              : Shape::partial({s[0], s[1], s[2], channels, block, block});
    const Axes order = is_last ? Axes{0, 1, 3, 2, 4, 5} : Axes{0, 1, 4, 2, 5, 3};
    y = reshaped(transposed(reshaped(last, cut), order),
                 Shape::partial({s[0], whole(s[1]), whole(s[2]), channels}));
  }
  return {is_last ? y : moved(y, 3, 1)};
}

Results flatten(TracedCall& call) { return {flattened(call[0])}; }

Results diagflat(TracedCall& call) {
  return {on_diagonal(flattened(call[0]), call.integer("k", 0))};
}

constexpr OperationClass kClasses[] = {
    traced_class(kNumpyModule, "Diag", "x", diag),
    traced_class(kNumpyModule, "Diagflat", "x", diagflat),
    traced_class(kNumpyModule, "Diagonal", "x", diagonal),
    traced_class(kNumpyModule, "Flip", "x", flip),
    traced_class(kNumpyModule, "Fliplr", "x", flip_axis<1>),
    traced_class(kNumpyModule, "Flipud", "x", flip_axis<0>),
    traced_class(kNumpyModule, "Moveaxis", "x", move_axes),
    traced_class(kNumpyModule, "Pad", "x,constant_values!", pad),
    traced_class(kNumpyModule, "Ravel", "x", flatten),
    traced_class(kNumpyModule, "Repeat", "x", repeat),
    traced_class(kNumpyModule, "Roll", "x", roll),
    traced_class(kNumpyModule, "Rot90", "array", rotate),
    traced_class(kNumpyModule, "Tile", "x", tile),
    traced_class(kNumpyModule, "Trace", "x", trace_of),
    traced_class(kNumpyModule, "Tril", "x", triangle<true>),
    traced_class(kNumpyModule, "Triu", "x", triangle<false>),
    traced_class(kCoreModule, "Slice", "inputs,start_indices!", slice),
    traced_class(kCoreModule, "SliceUpdate", "inputs,start_indices!,updates", slice_update),
    traced_class(kNnModule, "DepthToSpace", "x", space_and_depth<false>),
    traced_class(kNnModule, "SpaceToDepth", "x", space_and_depth<true>),
};

}  // namespace

std::span<const OperationClass> arranging_operations() { return kClasses; }

}  // namespace grouphead::nn
