// Products of tensors.

#include <algorithm>

#include "core/check.h"
#include "nn/operations/traced.h"
#include "nn/shapes.h"

namespace grouphead::nn {
namespace {

using namespace steps;
using Results = std::vector<Var>;

/// As NumPy's matmul: a vector is a row on the left, a column on the right.
Var matmul(Var a, Var b) {
  if (a.rank() == 0 || b.rank() == 0) {
    core::throw_shape_error(a.trace().name(), "operands", "rank 1 or more", "a number");
  }
  const bool is_row = a.rank() == 1;
  const bool is_column = b.rank() == 1;
  Var y = product(is_row ? expanded(a, 0) : a, is_column ? expanded(b, 1) : b);
  if (is_row) y = squeezed(y, y.rank() - 2);
  if (is_column) y = squeezed(y, y.rank() - 1);
  return y;
}

/// The sum over axes of a and axes of b, in the order given; what is left of a, then of b.
Var contracted(Var a, Var b, const Axes& of_a, const Axes& of_b) {
  if (of_a.size() != of_b.size()) {
    core::throw_shape_error(a.trace().name(), "axes", "as many of both operands", "others");
  }
  const auto rest = [](Var x, const Axes& used) {
    Axes free;
    for (const int axis : all_axes(x.rank())) {
      if (std::find(used.begin(), used.end(), axis) == used.end()) free.push_back(axis);
    }
    return free;
  };
  const auto size = [](Var x, const Axes& axes) {
    Index all = 1;
    for (const int axis : axes) all = x.dim(axis) < 0 || all < 0 ? -1 : all * x.dim(axis);
    return all;
  };
  const Axes rows = rest(a, of_a);
  const Axes columns = rest(b, of_b);
  Axes order_a = rows;
  order_a.insert(order_a.end(), of_a.begin(), of_a.end());
  Axes order_b = of_b;
  order_b.insert(order_b.end(), columns.begin(), columns.end());
  const Var left = reshaped(transposed(a, order_a), Shape::partial({size(a, rows), size(a, of_a)}));
  const Var right =
      reshaped(transposed(b, order_b), Shape::partial({size(b, of_b), size(b, columns)}));
  std::vector<Index> dims;
  for (const int axis : rows) dims.push_back(a.dim(axis));
  for (const int axis : columns) dims.push_back(b.dim(axis));
  return reshaped(product(left, right), Shape::partial(dims));
}

Results dot(TracedCall& call) {
  const Var a = call[0];
  const Var b = call[1];
  if (a.rank() == 0 || b.rank() == 0) return {a * b};
  const int last = a.rank() - 1;
  return {contracted(a, b, {last}, {std::max(0, b.rank() - 2)})};
}

Results inner(TracedCall& call) {
  const Var a = call[0];
  const Var b = call[1];
  if (a.rank() == 0 || b.rank() == 0) return {a * b};
  return {contracted(a, b, {a.rank() - 1}, {b.rank() - 1})};
}

Results outer(TracedCall& call) {
  const Var a = flattened(call[0]);
  const Var b = flattened(call[1]);
  return {expanded(a, 1) * expanded(b, 0)};
}

Results vdot(TracedCall& call) {
  const Var a = flattened(call[0]);
  const Var b = flattened(call[1]);
  return {contracted(a, b, {0}, {0})};
}

Results tensordot(TracedCall& call) {
  const Var a = call[0];
  const Var b = call[1];
  const ConfigValue& given = call["axes"];
  Axes of_a, of_b;
  const auto add = [&](Axes& axes, const ConfigValue& value, int rank) {
    if (value.is_integer()) {
      axes.push_back(positive_axis(call.name(), value.as_integer("axes"), rank));
      return;
    }
    for (const ConfigValue& axis : value.as_list("axes")) {
      axes.push_back(positive_axis(call.name(), axis.as_integer("axes"), rank));
    }
  };
  if (given.is_list()) {
    const ConfigValue::List& both = given.as_list("axes");
    if (both.size() != 2) {
      core::throw_config_error(call.name(), "axes", "axes of both operands", given.to_string());
    }
    add(of_a, both[0], a.rank());
    add(of_b, both[1], b.rank());
  } else {
    const Index count = call.integer("axes", 2);
    if (count < 0 || count > std::min(a.rank(), b.rank())) {
      core::throw_shape_error(call.name(), "axes", "axes that both operands have",
                              std::to_string(count));
    }
    for (int i = 0; i < count; ++i) {
      of_a.push_back(a.rank() - static_cast<int>(count) + i);
      of_b.push_back(i);
    }
  }
  return {contracted(a, b, of_a, of_b)};
}

Results kron(TracedCall& call) {
  Var a = call[0];
  Var b = call[1];
  while (a.rank() < b.rank()) a = expanded(a, 0);
  while (b.rank() < a.rank()) b = expanded(b, 0);
  std::vector<Index> dims;
  const int rank = a.rank();
  Var wide_a = a;
  Var wide_b = b;
  for (int axis = 0; axis < rank; ++axis) {
    dims.push_back(a.dim(axis) < 0 || b.dim(axis) < 0 ? -1 : a.dim(axis) * b.dim(axis));
    wide_a = expanded(wide_a, 2 * axis + 1);
    wide_b = expanded(wide_b, 2 * axis);
  }
  return {reshaped(wide_a * wide_b, Shape::partial(dims))};
}

Results distances(TracedCall& call) {
  const Var a = call[0];
  const Var b = call[1];
  if (a.rank() < 2 || b.rank() < 2) {
    core::throw_shape_error(call.name(), "x", "rank 2 or more", a.shape().to_string());
  }
  const Var difference = expanded(a, a.rank() - 1) - expanded(b, b.rank() - 2);
  const Var squares = sum(square(difference), {difference.rank() - 1}, false);
  return {unary(ops::Unary::sqrt, squares)};
}

Results einsum_of(TracedCall& call) {
  std::vector<Var> operands;
  for (std::size_t i = 0; i < call.operands.size(); ++i) operands.push_back(call[i]);
  return {einsum(call["subscripts"].as_string("subscripts"), operands)};
}

constexpr OperationClass kClasses[] = {
    traced_class(kNumpyModule, "Dot", "x1,x2", dot),
    traced_class(kNumpyModule, "Einsum", "operands*", einsum_of),
    traced_class(kNumpyModule, "Inner", "x1,x2", inner),
    traced_class(kNumpyModule, "Kron", "x1,x2", kron),
    traced_class(kNumpyModule, "Matmul", "x1,x2",
                 [](TracedCall& call) -> Results { return {matmul(call[0], call[1])}; }),
    traced_class(kNumpyModule, "Outer", "x1,x2", outer),
    traced_class(kNumpyModule, "Tensordot", "x1,x2", tensordot),
    traced_class(kNumpyModule, "Vdot", "x1,x2", vdot),
    traced_class(kMathModule, "CDist", "x,y", distances),
};

}  // namespace

std::span<const OperationClass> product_operations() { return kClasses; }

}  // namespace grouphead::nn
