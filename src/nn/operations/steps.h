#pragma once

// The steps that operations are made of. Each tells the shape and type of its result, computes it
// where its operands are computed, and knows its gradients. Types follow Keras's promotion unless
// said; axes are counted from the front. Errors of all: ShapeError for shapes that do not fit.

#include <span>
#include <vector>

#include "grouphead/layers/activation.h"
#include "nn/operations/layout.h"
#include "nn/operations/trace.h"
#include "ops/broadcasting.h"
#include "ops/convert.h"
#include "ops/reduction.h"

namespace grouphead::nn::steps {

using Axes = std::vector<int>;

/// The type in which functions of floating numbers handle `dtype`: itself, f32 for the others.
constexpr Dtype floating(Dtype dtype) noexcept {
  return ops::is_floating(dtype) ? dtype : Dtype::f32;
}
constexpr Dtype without_bool(Dtype dtype) noexcept {
  return dtype == Dtype::boolean ? Dtype::i32 : dtype;
}

// Elements.
Var literal(Trace& trace, double value);  ///< weak, floating
Var literal(Trace& trace, Index value);   ///< weak, an integer
Var filled(Trace& trace, double value, const Shape& shape, Dtype dtype);
Var cast(Var x, Dtype dtype);  ///< x itself where it has the type
Var without_gradient(Var x);
Var unary(ops::Unary kind, Var x);  ///< of floating numbers; of others as f32
Var binary(ops::Binary kind, Var a, Var b);
Var compare(ops::Comparison kind, Var a, Var b);
Var combine(ops::Logical kind, Var a, Var b);  ///< of bools
Var invert(Var x);
Var activated(Var x, const Activation& activation);
Var select(Var condition, Var a, Var b);  ///< condition ? a : b

inline Var operator+(Var a, Var b) { return binary(ops::Binary::add, a, b); }
inline Var operator-(Var a, Var b) { return binary(ops::Binary::subtract, a, b); }
inline Var operator*(Var a, Var b) { return binary(ops::Binary::multiply, a, b); }
inline Var operator/(Var a, Var b) { return binary(ops::Binary::divide, a, b); }
inline Var operator+(Var a, double b) { return a + literal(a.trace(), b); }
inline Var operator-(Var a, double b) { return a - literal(a.trace(), b); }
inline Var operator*(Var a, double b) { return a * literal(a.trace(), b); }
inline Var operator/(Var a, double b) { return a / literal(a.trace(), b); }
inline Var operator-(double a, Var b) { return literal(b.trace(), a) - b; }
inline Var operator-(int a, Var b) { return literal(b.trace(), Index{a}) - b; }
inline Var negative(Var x) { return x * literal(x.trace(), Index{-1}); }
inline Var square(Var x) { return x * x; }
inline Var maximum(Var a, Var b) { return binary(ops::Binary::maximum, a, b); }
inline Var minimum(Var a, Var b) { return binary(ops::Binary::minimum, a, b); }
Var less(Var a, double b);
Var greater(Var a, double b);

// Places.
/// What `layout` shows of x; with `repeats` an element may stand in several places.
Var arranged(Var x, const Layout& layout, bool repeats = false);
Layout layout_of(Var x);
Var reshaped(Var x, const Shape& shape);  ///< of as many elements, which is not checked of unknown
Var transposed(Var x, std::span<const int> order);
Var moved(Var x, int from, int to);  ///< axis `from` becomes axis `to`
Var flattened(Var x);
Var expanded(Var x, int axis);
Var squeezed(Var x, int axis);
Var broadcast(Var x, const Shape& shape);
Var sliced(Var x, int axis, Index begin, Index end);
Var flipped(Var x, int axis);
Var joined(std::span<const Var> parts, int axis);
/// Makes the indices once they are wanted; -1 stands for a place that gets `fill`.
using MakeIndices = std::function<std::vector<Index>()>;
/// y[.., j, ..] = x[.., indices[j], ..], with `count` indices (-1: unknown).
Var picked(Var x, int axis, Index count, MakeIndices indices, double fill = 0);
/// The same with indices (integers of rank 1) of a call. Negative ones count from the end; NaN, or
/// the lowest integer, where there is no such element.
Var taken(Var x, int axis, Var indices);
/// y[.., j, ..] = x[.., indices[.., j, ..], ..] along one axis, other axes alike.
Var taken_along(Var x, int axis, Var indices);
/// The sum of x's parts that have the same index: y[.., indices[j], ..] += x[.., j, ..], of `size`.
Var gathered(Var x, int axis, Var indices, Index size);

// Over axes.
Shape reduced_shape(const Shape& shape, const Axes& axes, bool keeps);
Var sum(Var x, const Axes& axes, bool keeps);   ///< bools and u8 as i32
Var mean(Var x, const Axes& axes, bool keeps);  ///< of floating numbers; of others as f32
Var variance(Var x, const Axes& axes, bool keeps);
Var extreme(ops::Extreme kind, Var x, const Axes& axes, bool keeps);
/// Sums (or products) of the elements up to each.
Var cumulated(Var x, int axis, bool multiplies);
/// The order (i32) that sorts ascending, or descending; equal ones stay in order, NaN is largest.
Var order(Var x, int axis, bool descends);
/// Where (i32) the first extreme is; the axis is gone.
Var place_of_extreme(ops::Extreme kind, Var x, int axis);
Var softmax(Var x, int axis);
Var log_softmax(Var x, int axis);

/// a b over the last two axes, the others broadcast.
Var product(Var a, Var b);
/// NumPy's einsum, of any number of operands.
Var einsum(std::string_view equation, std::span<const Var> operands);

Axes all_axes(int rank);

}  // namespace grouphead::nn::steps
