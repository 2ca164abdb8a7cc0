// Orders along an axis, and what stands in a place of them.

#include <cmath>

#include "core/check.h"
#include "nn/operations/traced.h"

namespace grouphead::nn {
namespace {

using namespace steps;
using Results = std::vector<Var>;

Results sorted(TracedCall& call) {
  const Var x =
      call["axis"].is_null() && call.config.contains("axis") ? flattened(call[0]) : call[0];
  const int axis = call.axis(x.rank(), -1);
  return {taken_along(x, axis, order(x, axis, false))};
}

Results sorting_order(TracedCall& call) {
  const bool is_flat = call["axis"].is_null() && call.config.contains("axis");
  const Var x = is_flat || call[0].rank() == 0 ? flattened(call[0]) : call[0];
  const Var y = order(x, call.axis(x.rank(), -1), false);
  return {call[0].rank() == 0 ? reshaped(y, Shape()) : y};
}

template <ops::Extreme Kind>
Results extreme_place(TracedCall& call) {
  const Var x = call[0];
  const bool keeps = call.truth("keepdims");
  const bool is_flat = call["axis"].is_null();
  const Var line = is_flat ? flattened(x) : x;
  const int axis = is_flat ? 0 : call.axis(x.rank(), 0);
  const Axes axes = is_flat ? all_axes(x.rank()) : Axes{axis};
  return {reshaped(place_of_extreme(Kind, line, axis), reduced_shape(x.shape(), axes, keeps))};
}

Results top_k(TracedCall& call) {
  const Var x = call[0];
  if (x.rank() == 0) core::throw_shape_error(call.name(), "x", "rank 1 or more", "a number");
  const int last = x.rank() - 1;
  const Index k = call.integer("k", 1);
  if (k < 0 || (x.dim(last) >= 0 && k > x.dim(last))) {
    core::throw_shape_error(call.name(), "k", "0 to " + std::to_string(x.dim(last)),
                            std::to_string(k));
  }
  const Var places = sliced(order(x, last, true), last, 0, k);
  return {taken_along(x, last, places), places};
}

Results in_top_k(TracedCall& call) {
  const Var targets = call[0];
  const Var predictions = call[1];
  if (predictions.rank() != targets.rank() + 1) {
    core::throw_shape_error(call.name(), "predictions", "one axis more than targets",
                            predictions.shape().to_string());
  }
  const int last = predictions.rank() - 1;
  const Var chosen = taken_along(predictions, last, expanded(targets, last));
  const Var above = compare(ops::Comparison::greater, predictions, chosen);
  const Var rank = sum(above, {last}, false) + literal(call.trace, Index{1});
  return {compare(ops::Comparison::less_equal, rank, literal(call.trace, call.integer("k", 1)))};
}

/// The axes as one last axis, sorted.
Var sorted_rows(Var x, const Axes& axes) {
  Axes kept;
  std::vector<Index> dims;
  Index size = 1;
  for (const int axis : all_axes(x.rank())) {
    if (std::find(axes.begin(), axes.end(), axis) != axes.end()) {
      size = size < 0 || x.dim(axis) < 0 ? -1 : size * x.dim(axis);
    } else {
      kept.push_back(axis);
      dims.push_back(x.dim(axis));
    }
  }
  kept.insert(kept.end(), axes.begin(), axes.end());
  dims.push_back(size);
  const Var rows = reshaped(transposed(x, kept), Shape::partial(dims));
  const int last = rows.rank() - 1;
  return taken_along(rows, last, order(rows, last, false));
}

Results median(TracedCall& call) {
  const Var x = cast(call[0], floating(call[0].dtype()));
  const Axes axes = call.axes(x.rank());
  const Var rows = sorted_rows(x, axes);
  const int last = rows.rank() - 1;
  const Index size = std::max<Index>(rows.dim(last), 1);
  const Index low = (size - 1) / 2;
  const Index high = size / 2;
  Var y = sliced(rows, last, low, low + 1);
  if (high != low) y = (y + sliced(rows, last, high, high + 1)) * 0.5;
  // A NaN, which stands last, is the result.
  const Var worst = sliced(rows, last, size - 1, size);
  y = select(compare(ops::Comparison::not_equal, worst, worst), worst, y);
  return {reshaped(y, reduced_shape(x.shape(), axes, call.truth("keepdims")))};
}

/// Where `values` go in a sorted line: the number of elements below, or not above.
template <ops::Comparison Kind>
Var places_in(Var line, Var values) {
  const Var before = compare(Kind, line, expanded(values, values.rank()));
  return sum(before, {before.rank() - 1}, false);
}

Results search_sorted(TracedCall& call) {
  const std::string side =
      call["side"].is_null() ? std::string("left") : call["side"].as_string("side");
  if (call[0].rank() != 1 || (side != "left" && side != "right")) {
    core::throw_shape_error(call.name(), "sorted_sequence", "rank 1, and the side left or right",
                            call[0].shape().to_string() + ", " + side);
  }
  return {side == "left" ? places_in<ops::Comparison::less>(call[0], call[1])
                         : places_in<ops::Comparison::less_equal>(call[0], call[1])};
}

Results digitize(TracedCall& call) {
  return {places_in<ops::Comparison::less_equal>(call[1], call[0])};
}

constexpr OperationClass kClasses[] = {
    traced_class(kNumpyModule, "Argmax", "x", extreme_place<ops::Extreme::max>),
    traced_class(kNumpyModule, "Argmin", "x", extreme_place<ops::Extreme::min>),
    traced_class(kNumpyModule, "Argsort", "x", sorting_order),
    traced_class(kNumpyModule, "Digitize", "x,bins", digitize),
    traced_class(kNumpyModule, "Median", "x", median),
    traced_class(kNumpyModule, "SearchSorted", "sorted_sequence,values", search_sorted),
    traced_class(kNumpyModule, "Sort", "x", sorted),
    traced_class(kMathModule, "InTopK", "targets,predictions", in_top_k),
    traced_class(kMathModule, "TopK", "x", top_k),
};

}  // namespace

std::span<const OperationClass> sorting_operations() { return kClasses; }

}  // namespace grouphead::nn
