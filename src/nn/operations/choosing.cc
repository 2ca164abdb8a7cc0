// Operations that choose elements by index, and what counts or gathers by index.

#include <algorithm>
#include <limits>

#include "core/check.h"
#include "nn/operations/traced.h"
#include "nn/shapes.h"

namespace grouphead::nn {
namespace {

using namespace steps;
using Results = std::vector<Var>;

Results take(TracedCall& call) {
  const bool is_flat = call["axis"].is_null();
  const Var x = is_flat ? flattened(call[0]) : call[0];
  const int axis = is_flat ? 0 : call.axis(x.rank(), 0);
  const Var indices = call[1];
  const Var y = taken(x, axis, flattened(indices));
  std::vector<Index> dims(x.shape().begin(), x.shape().begin() + axis);
  dims.insert(dims.end(), indices.shape().begin(), indices.shape().end());
  dims.insert(dims.end(), x.shape().begin() + axis + 1, x.shape().end());
  return {reshaped(y, Shape::partial(dims))};
}

Results take_along_axis(TracedCall& call) {
  const bool is_flat = call["axis"].is_null();
  const Var x = is_flat ? flattened(call[0]) : call[0];
  const Var indices = is_flat ? flattened(call[1]) : call[1];
  const int axis = is_flat ? 0 : call.axis(x.rank(), -1);
  if (indices.rank() != x.rank()) {
    core::throw_shape_error(call.name(), "indices", "x's rank", indices.shape().to_string());
  }
  // Axes of size 1 broadcast, but for the one that is chosen from.
  const auto spread = [&](Var one, Var other) {
    std::vector<Index> dims(one.shape().begin(), one.shape().end());
    for (int i = 0; i < one.rank(); ++i) {
      if (i != axis && one.dim(i) == 1) dims[static_cast<std::size_t>(i)] = other.dim(i);
    }
    return broadcast(one, Shape::partial(dims));
  };
  return {taken_along(spread(x, indices), axis, spread(indices, x))};
}

Var hot(TracedCall& call, Var x, Index classes, int axis, Dtype dtype) {
  if (call.truth("sparse")) {
    core::throw_config_error(call.name(), "sparse", "false", "true");
  }
  if (classes < 0 || classes > (Index{1} << 40)) {
    core::throw_config_error(call.name(), "num_classes", "0 or more", std::to_string(classes));
  }
  std::vector<Index> dims(static_cast<std::size_t>(x.rank() + 1), 1);
  dims[static_cast<std::size_t>(axis)] = classes;
  Tensor numbers;
  const OperandType type{Dtype::i64, false};
  if (call.trace.computes()) {
    numbers = call.trace.ctx().tensor(Shape(dims), Dtype::i64);
    for (Index i = 0; i < classes; ++i) numbers.data<Index>()[i] = i;
  }
  const Var choices =
      call.trace.computes() ? call.trace.given(numbers, type) : call.trace.given(Shape(dims), type);
  return cast(compare(ops::Comparison::equal, expanded(x, axis), choices), dtype);
}

Results one_hot(TracedCall& call) {
  const Var x = call[0];
  const int axis = call.axis(x.rank() + 1, -1);
  return {hot(call, x, call.integer("num_classes", 0), axis, call.dtype(Dtype::f32))};
}

Results multi_hot(TracedCall& call) {
  const Var x = call[0];
  if (x.rank() == 0) core::throw_shape_error(call.name(), "inputs", "rank 1 or more", "a number");
  const Index classes = call["num_classes"].is_null() ? call.integer("num_tokens", 0)
                                                      : call.integer("num_classes", 0);
  const Var each = hot(call, x, classes, call.axis(x.rank() + 1, -1), call.dtype(Dtype::f32));
  return {extreme(ops::Extreme::max, each, {x.rank() > 1 ? 1 : 0}, false)};
}

/// Places in the flattened first axes of `shape` that rows of indices [.., K] name; -1 outside.
Var places(Var indices, const Shape& shape) {
  const int last = indices.rank() - 1;
  Var place;
  Var is_outside;
  for (int i = 0; i < indices.dim(last); ++i) {
    const Var given = squeezed(sliced(cast(indices, Dtype::i64), last, i, i + 1), last);
    Trace& trace = indices.trace();
    const Var size = literal(trace, shape[i]);
    const Var index = select(compare(ops::Comparison::less, given, literal(trace, Index{0})),
                             given + size, given);
    const Var bad = combine(ops::Logical::either,
                            compare(ops::Comparison::less, index, literal(trace, Index{0})),
                            compare(ops::Comparison::greater_equal, index, size));
    place = place.has_value() ? place * size + index : index;
    is_outside = is_outside.has_value() ? combine(ops::Logical::either, is_outside, bad) : bad;
  }
  return flattened(select(is_outside, literal(indices.trace(), Index{-1}), place));
}

/// shape's first `count` axes as one.
Shape with_flat_axes(const Shape& shape, int count) {
  Index size = 1;
  for (int axis = 0; axis < count; ++axis) {
    size = size < 0 || shape[axis] < 0 ? -1 : size * shape[axis];
  }
  std::vector<Index> dims{size};
  dims.insert(dims.end(), shape.begin() + count, shape.end());
  return Shape::partial(dims);
}

int index_depth(const TracedCall& call, Var indices, const Shape& shape) {
  const bool fits =
      indices.rank() > 0 && indices.shape().back() >= 1 && indices.shape().back() <= shape.rank();
  if (!fits) {
    core::throw_shape_error(call.name(), "indices",
                            "a last axis of 1 to " + std::to_string(shape.rank()),
                            indices.shape().to_string());
  }
  return static_cast<int>(indices.shape().back());
}

Results scatter(TracedCall& call) {
  const Var indices = call[0];
  const Var values = call[1];
  const Shape shape = call["shape"].as_shape("shape");
  if (!shape.is_complete()) {
    core::throw_config_error(call.name(), "shape", "known sizes", shape.to_string());
  }
  const int depth = index_depth(call, indices, shape);
  const Shape flat = with_flat_axes(shape, depth);
  const Var rows = reshaped(values, with_flat_axes(values.shape(), indices.rank() - 1));
  return {reshaped(gathered(rows, 0, places(indices, shape), flat[0]), shape)};
}

Results scatter_update(TracedCall& call) {
  const Var x = call[0];
  const Var indices = call[1];
  const ConfigValue& reduction = call["reduction"];
  const bool adds = !reduction.is_null() && reduction.as_string("reduction") == "add";
  if (!adds && !reduction.is_null()) {
    core::throw_config_error(call.name(), "reduction", "null or add", reduction.to_string());
  }
  const int depth = index_depth(call, indices, x.shape());
  const Shape flat = with_flat_axes(x.shape(), depth);
  const Var where = places(indices, x.shape());
  const Var rows =
      reshaped(cast(call[2], x.dtype()), with_flat_axes(call[2].shape(), indices.rank() - 1));
  if (adds) return {x + reshaped(gathered(rows, 0, where, flat[0]), x.shape())};
  // Each place takes the last of its updates.
  const Index count = where.dim(0);
  Tensor last;
  const OperandType type{Dtype::i64, false};
  if (call.trace.computes()) {
    last = call.trace.ctx().tensor(Shape({flat[0]}), Dtype::i64);
    std::fill_n(last.data<Index>(), flat[0], count);
    for (Index i = 0; i < count; ++i) {
      const Index place = where.value().data<Index>()[i];
      if (place >= 0) last.data<Index>()[place] = i;
    }
  }
  const Var from = call.trace.computes() ? call.trace.given(last, type)
                                         : call.trace.given(Shape::partial({flat[0]}), type);
  std::vector<Index> dims(static_cast<std::size_t>(flat.rank()), 1);
  dims[0] = flat[0];
  const Var is_new = reshaped(compare(ops::Comparison::less, from, literal(call.trace, count)),
                              Shape::partial(dims));
  const Var y = select(is_new, taken(rows, 0, from), reshaped(x, flat));
  return {reshaped(y, x.shape())};
}

Results segment_sum(TracedCall& call) {
  const Var data = call[0];
  const Index count = call.integer("num_segments", -1);
  if (data.rank() == 0 || call[1].rank() != 1 || count < 0) {
    core::throw_shape_error(call.name(), "segment_ids", "rank 1, and num_segments",
                            call[1].shape().to_string());
  }
  return {gathered(data, 0, call[1], count)};
}

Results full_like(TracedCall& call) {
  const Var x = call[0];
  return {broadcast(cast(call[1], call.dtype(x.dtype())), x.shape())};
}

Results empty_like(TracedCall& call) {
  const Var x = call[0];
  return {filled(call.trace, 0, x.shape(), call.dtype(x.dtype()))};
}

Results full(TracedCall& call) {
  const Shape shape = call["shape"].as_shape("shape");
  return {broadcast(cast(call[0], call.dtype(Dtype::f32)), shape)};
}

Results is_in(TracedCall& call) {
  const Var x = call[0];
  const Var any = extreme(
      ops::Extreme::max, compare(ops::Comparison::equal, expanded(x, x.rank()), flattened(call[1])),
      {x.rank()}, false);
  return {call.truth("invert") ? invert(any) : any};
}

constexpr OperationClass kClasses[] = {
    traced_class(kNumpyModule, "EmptyLike", "x", empty_like),
    traced_class(kNumpyModule, "Full", "fill_value", full),
    traced_class(kNumpyModule, "FullLike", "x,fill_value", full_like),
    traced_class(kNumpyModule, "IsIn", "x1,x2", is_in),
    traced_class(kNumpyModule, "Take", "x,indices", take),
    traced_class(kNumpyModule, "TakeAlongAxis", "x,indices", take_along_axis),
    traced_class(kCoreModule, "Scatter", "indices,values", scatter),
    traced_class(kCoreModule, "ScatterUpdate", "inputs,indices,updates", scatter_update),
    traced_class(kMathModule, "SegmentSum", "data,segment_ids", segment_sum),
    traced_class(kNnModule, "MultiHot", "inputs", multi_hot),
    traced_class(kNnModule, "OneHot", "x", one_hot),
};

}  // namespace

std::span<const OperationClass> choosing_operations() { return kClasses; }

}  // namespace grouphead::nn
