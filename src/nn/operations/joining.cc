// Operations that split tensors and join them.

#include <algorithm>
#include <limits>

#include "core/check.h"
#include "nn/operations/traced.h"
#include "nn/shapes.h"

namespace grouphead::nn {
namespace {

using namespace steps;
using Results = std::vector<Var>;

/// Parts between consecutive bounds, as Python slices.
Results parts_between(Var x, int axis, const std::vector<Index>& given) {
  const Index size = x.dim(axis);
  std::vector<Index> bounds{0};
  for (const Index bound : given) {
    if (size < 0) {
      bounds.push_back(bound);
      continue;
    }
    bounds.push_back(std::clamp<Index>(bound < 0 ? bound + size : bound, 0, size));
  }
  bounds.push_back(size);
  Results parts;
  for (std::size_t i = 0; i + 1 < bounds.size(); ++i) {
    const bool is_unknown =
        size < 0 && (i + 2 == bounds.size() || bounds[i] < 0 || bounds[i + 1] < bounds[i]);
    const Index begin = is_unknown ? 0 : bounds[i];
    parts.push_back(sliced(x, axis, begin, is_unknown ? -1 : std::max(begin, bounds[i + 1])));
  }
  return parts;
}

Results split_along(TracedCall& call, int axis, bool may_differ) {
  const Var x = call[0];
  if (call["indices_or_sections"].is_list()) {
    return parts_between(x, axis, call.integers("indices_or_sections"));
  }
  const Index count = call.integer("indices_or_sections", 1);
  const Index size = x.dim(axis);
  if (count < 1 || count > (Index{1} << 20)) call.refuse("indices_or_sections", "1 or more");
  if (size < 0) {
    Results parts;
    for (Index i = 0; i < count; ++i) parts.push_back(sliced(x, axis, 0, -1));
    return parts;
  }
  if (size % count != 0 && !may_differ) {
    core::throw_shape_error(call.name(), "x",
                            "a size of axis " + std::to_string(axis) + " that " +
                                std::to_string(count) + " parts share",
                            x.shape().to_string());
  }
  std::vector<Index> bounds;
  for (Index i = 1; i < count; ++i) {
    bounds.push_back(size / count * i + std::min(i, size % count));
  }
  return parts_between(x, axis, bounds);
}

Results split(TracedCall& call) { return split_along(call, call.axis(call[0].rank(), 0), false); }

Results array_split(TracedCall& call) {
  return split_along(call, call.axis(call[0].rank(), 0), true);
}

/// Hsplit, Vsplit and Dsplit.
template <int Axis>
Results split_axis(TracedCall& call) {
  const int axis = call[0].rank() == 1 && Axis == 1 ? 0 : Axis;
  return split_along(call, positive_axis(call.name(), axis, call[0].rank()), false);
}

Results unstack(TracedCall& call) {
  const Var x = call[0];
  const int axis = call.axis(x.rank(), 0);
  Index count = x.dim(axis);
  if (count < 0) count = call.integer("num", -1);
  if (count < 0 || count > (Index{1} << 20)) call.refuse("num", "a known size");
  Results parts;
  for (Index i = 0; i < count; ++i) parts.push_back(squeezed(sliced(x, axis, i, i + 1), axis));
  return parts;
}

/// Hstack, Vstack and Dstack: joined along `Axis` once all have as many axes.
template <int Axis>
Results stack_axis(TracedCall& call) {
  std::vector<Var> parts;
  for (std::size_t i = 0; i < call.operands.size(); ++i) {
    Var x = call[i];
    if (x.rank() == 0) x = expanded(x, 0);
    if (Axis != 1 && x.rank() == 1) x = expanded(x, 0);
    if (Axis == 2 && x.rank() == 2) x = expanded(x, 2);
    parts.push_back(x);
  }
  return {joined(parts, Axis == 1 && parts[0].rank() == 1 ? 0 : Axis)};
}

Results concatenate(TracedCall& call) {
  std::vector<Var> parts;
  for (std::size_t i = 0; i < call.operands.size(); ++i) parts.push_back(call[i]);
  return {joined(parts, call.axis(parts[0].rank(), -1))};
}

Results stack(TracedCall& call) {
  const int axis = call.axis(call[0].rank() + 1, 0);
  std::vector<Var> parts;
  for (std::size_t i = 0; i < call.operands.size(); ++i) {
    if (call[i].rank() != call[0].rank()) {
      core::throw_shape_error(call.name(), "x", "equal shapes", call[i].shape().to_string());
    }
    parts.push_back(expanded(call[i], axis));
  }
  return {joined(parts, axis)};
}

Results append(TracedCall& call) {
  const bool is_flat = call["axis"].is_null();
  const Var parts[] = {is_flat ? flattened(call[0]) : call[0],
                       is_flat ? flattened(call[1]) : call[1]};
  return {joined(parts, is_flat ? 0 : call.axis(parts[0].rank(), 0))};
}

Results meshgrid(TracedCall& call) {
  const std::string indexing =
      call["indexing"].is_null() ? std::string("xy") : call["indexing"].as_string("indexing");
  if (indexing != "xy" && indexing != "ij") call.refuse("indexing", "xy or ij");
  const int rank = static_cast<int>(call.operands.size());
  const auto place = [&](int i) { return indexing == "xy" && rank > 1 && i < 2 ? 1 - i : i; };
  std::vector<Index> sizes(static_cast<std::size_t>(rank));
  std::vector<Var> lines;
  for (int i = 0; i < rank; ++i) {
    lines.push_back(flattened(call[static_cast<std::size_t>(i)]));
    sizes[static_cast<std::size_t>(place(i))] = lines.back().dim(0);
  }
  Results grids;
  for (int i = 0; i < rank; ++i) {
    std::vector<Index> dims(static_cast<std::size_t>(rank), 1);
    const Var& line = lines[static_cast<std::size_t>(i)];
    dims[static_cast<std::size_t>(place(i))] = line.dim(0);
    grids.push_back(broadcast(reshaped(line, Shape::partial(dims)), Shape::partial(sizes)));
  }
  return grids;
}

constexpr OperationClass kClasses[] = {
    traced_class(kNumpyModule, "Append", "x1,x2", append),
    traced_class(kNumpyModule, "ArraySplit", "x", array_split),
    traced_class(kNumpyModule, "Concatenate", "xs*", concatenate),
    traced_class(kNumpyModule, "Dsplit", "x", split_axis<2>),
    traced_class(kNumpyModule, "Dstack", "xs*", stack_axis<2>),
    traced_class(kNumpyModule, "Hsplit", "x", split_axis<1>),
    traced_class(kNumpyModule, "Hstack", "xs*", stack_axis<1>),
    traced_class(kNumpyModule, "Meshgrid", "x*", meshgrid),
    traced_class(kNumpyModule, "Split", "x", split),
    traced_class(kNumpyModule, "Stack", "x*", stack),
    traced_class(kNumpyModule, "Vsplit", "x", split_axis<0>),
    traced_class(kNumpyModule, "Vstack", "xs*", stack_axis<0>),
    traced_class(kCoreModule, "Unstack", "x", unstack),
};

}  // namespace

std::span<const OperationClass> joining_operations() { return kClasses; }

}  // namespace grouphead::nn
