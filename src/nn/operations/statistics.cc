// Statistics over axes, and what is normalised by them.

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/check.h"
#include "nn/operations/traced.h"

namespace grouphead::nn {
namespace {

using namespace steps;
using Results = std::vector<Var>;
using ops::Unary;

constexpr double kEpsilon = 1e-7;  // keras.backend.epsilon()

Var sqrt(Var x) { return unary(Unary::sqrt, x); }
Var rsqrt(Var x) { return unary(Unary::rsqrt, x); }

/// Keras's statistics of 16-bit numbers are computed in f32.
Var widened(Var x) {
  const bool is_narrow = ops::is_floating(x.dtype()) && x.dtype() != Dtype::f64;
  return is_narrow || !ops::is_floating(x.dtype()) ? cast(x, Dtype::f32) : x;
}

Results variance_of(TracedCall& call) {
  const Var x = call[0];
  const Var y = variance(widened(x), call.axes(x.rank()), call.truth("keepdims"));
  return {cast(y, floating(x.dtype()))};
}

Results deviation(TracedCall& call) {
  const Var x = call[0];
  const Var y = sqrt(variance(widened(x), call.axes(x.rank()), call.truth("keepdims")));
  return {cast(y, floating(x.dtype()))};
}

/// Max and Min of all that is given, `initial` included.
template <ops::Extreme Kind>
Results extreme_of(TracedCall& call) {
  const Var x = call[0];
  const ConfigValue& initial = call["initial"];
  const Axes axes = call.axes(x.rank());
  const bool keeps = call.truth("keepdims");
  if (initial.is_null()) return {extreme(Kind, x, axes, keeps)};
  const Shape shape = reduced_shape(x.shape(), axes, true);
  const Var start = filled(call.trace, initial.as_number("initial"), shape, x.dtype());
  const Index count = x.shape().is_complete() ? x.shape().size() : 1;
  Var y = start;
  if (count > 0) {
    y = binary(Kind == ops::Extreme::max ? ops::Binary::maximum : ops::Binary::minimum, start,
               extreme(Kind, x, axes, true));
  }
  return {reshaped(y, reduced_shape(x.shape(), axes, keeps))};
}

template <ops::Extreme Kind>
Results truth_of(TracedCall& call) {
  const Var x = cast(call[0], Dtype::boolean);
  return {extreme(Kind, x, call.axes(x.rank()), call.truth("keepdims"))};
}

Results sum_of(TracedCall& call) {
  return {sum(call[0], call.axes(call[0].rank()), call.truth("keepdims"))};
}

Results mean_of(TracedCall& call) {
  return {mean(call[0], call.axes(call[0].rank()), call.truth("keepdims"))};
}

Results range_of(TracedCall& call) {
  const Var x = call[0];
  const Axes axes = call.axes(x.rank());
  const bool keeps = call.truth("keepdims");
  return {extreme(ops::Extreme::max, x, axes, keeps) - extreme(ops::Extreme::min, x, axes, keeps)};
}

Results average(TracedCall& call) {
  Var x = call[0];
  const Axes axes = call.axes(x.rank());
  if (!call.has(1)) return {mean(x, axes, false)};
  Var weights = call[1];
  const OperandType types[] = {x.type(), weights.type()};
  const Dtype dtype = floating(result_type(types));
  x = cast(x, dtype);
  weights = cast(weights, dtype);
  if (weights.rank() != x.rank()) {
    if (weights.rank() != 1 || axes.size() != 1) {
      core::throw_shape_error(call.name(), "weights", "x's shape, or one axis",
                              weights.shape().to_string());
    }
    std::vector<Index> dims(static_cast<std::size_t>(x.rank()), 1);
    dims[static_cast<std::size_t>(axes[0])] = weights.dim(0);
    weights = broadcast(reshaped(weights, Shape::partial(dims)), x.shape());
  }
  return {sum(x * weights, axes, false) / sum(weights, axes, false)};
}

/// The axes as one last axis; what is left first.
Var gathered_axes(Var x, const Axes& axes) {
  Axes order;
  std::vector<Index> dims;
  Index size = 1;
  for (const int axis : all_axes(x.rank())) {
    if (std::find(axes.begin(), axes.end(), axis) != axes.end()) {
      size = size < 0 || x.dim(axis) < 0 ? -1 : size * x.dim(axis);
    } else {
      order.push_back(axis);
      dims.push_back(x.dim(axis));
    }
  }
  order.insert(order.end(), axes.begin(), axes.end());
  dims.push_back(size);
  return reshaped(transposed(x, order), Shape::partial(dims));
}

Var product_over(Var x, const Axes& axes, bool keeps) {
  const bool is_small = x.dtype() == Dtype::boolean || x.dtype() == Dtype::u8;
  Var rows = gathered_axes(is_small ? cast(x, Dtype::i32) : x, axes);
  const int last = rows.rank() - 1;
  Var y;
  if (rows.dim(last) == 0) {
    y = filled(x.trace(), 1, reduced_shape(rows.shape(), {last}, false), rows.dtype());
  } else {
    const Var products = cumulated(rows, last, true);
    const Index length = rows.dim(last);
    y = squeezed(sliced(products, last, length - 1, length), last);
  }
  return reshaped(y, reduced_shape(x.shape(), axes, keeps));
}

Results product_of(TracedCall& call) {
  Var x = call[0];
  x = cast(x, call.dtype(x.dtype()));
  return {product_over(x, call.axes(x.rank()), call.truth("keepdims"))};
}

Results count_nonzero(TracedCall& call) {
  const Var x = call[0];
  return {sum(cast(x, Dtype::boolean), call.axes(x.rank()), false)};
}

Var log_sum_exp(Var x, const Axes& axes, bool keeps) {
  const Var numbers = cast(x, floating(x.dtype()));
  const Var highest = without_gradient(extreme(ops::Extreme::max, numbers, axes, true));
  const Var infinite = compare(ops::Comparison::equal, unary(Unary::absolute, highest),
                               literal(x.trace(), std::numeric_limits<double>::infinity()));
  const Var shift = select(infinite, literal(x.trace(), 0.0), highest);
  const Var total = sum(unary(Unary::exp, numbers - shift), axes, true);
  return reshaped(unary(Unary::log, total) + shift, reduced_shape(x.shape(), axes, keeps));
}

Results logsumexp(TracedCall& call) {
  const Var x = call[0];
  return {log_sum_exp(x, call.axes(x.rank()), call.truth("keepdims"))};
}

/// Of vectors: the sum of |x|^p to the 1/p, with its limits.
Var vector_norm(Var x, double p, const Axes& axes, bool keeps) {
  const Var size = unary(Unary::absolute, x);
  if (std::isinf(p)) {
    return extreme(p > 0 ? ops::Extreme::max : ops::Extreme::min, size, axes, keeps);
  }
  if (p == 0) {
    return cast(sum(compare(ops::Comparison::not_equal, x, literal(x.trace(), 0.0)), axes, keeps),
                x.dtype());
  }
  if (p == 1) return sum(size, axes, keeps);
  if (p == 2) return sqrt(sum(square(x), axes, keeps));
  const Var power = binary(ops::Binary::power, size, literal(x.trace(), p));
  return binary(ops::Binary::power, sum(power, axes, keeps), literal(x.trace(), 1 / p));
}

/// Of matrices: 1 and inf are the largest (-1 and -inf the smallest) sums of columns and rows.
Var matrix_norm(Var x, double p, const Axes& axes, bool keeps) {
  const bool sums_rows = std::abs(p) == 1;
  const Var sums = sum(unary(Unary::absolute, x), {axes[sums_rows ? 0 : 1]}, true);
  const Var y =
      extreme(p > 0 ? ops::Extreme::max : ops::Extreme::min, sums, {axes[sums_rows ? 1 : 0]}, true);
  return reshaped(y, reduced_shape(x.shape(), axes, keeps));
}

Results norm(TracedCall& call) {
  const Var x = cast(call[0], floating(call[0].dtype()));
  const ConfigValue& kind = call["ord"];
  const bool keeps = call.truth("keepdims");
  Axes axes = call.axes(x.rank());
  if (call["axis"].is_list()) {
    axes.clear();  // in the order given: rows, then columns
    for (const ConfigValue& axis : call["axis"].as_list("axis")) {
      const Axes one = operation_axes(call.name(), axis, x.rank());
      axes.push_back(one[0]);
    }
  }
  if (kind.is_null()) return {sqrt(sum(square(x), axes, keeps))};
  if (kind.is_string()) {
    const std::string& text = kind.as_string("ord");
    if (text == "fro" && axes.size() == 2) return {sqrt(sum(square(x), axes, keeps))};
    core::throw_config_error(call.name(), "ord", "a number, or fro of two axes", text);
  }
  const double p = kind.as_number("ord");
  if (axes.size() == 1) return {vector_norm(x, p, axes, keeps)};
  if (axes.size() == 2 && (std::abs(p) == 1 || std::isinf(p))) {
    return {matrix_norm(x, p, axes, keeps)};
  }
  core::throw_config_error(call.name(), "ord", "a norm that needs no singular values",
                           kind.to_string());
}

Results moments(TracedCall& call) {
  if (call.truth("synchronized")) {
    core::throw_config_error(call.name(), "synchronized", "false", "true");
  }
  const Var x = call[0];
  const Axes axes = call.axes(x.rank(), "axes");
  const bool keeps = call.truth("keepdims");
  const Var wide = widened(x);
  const Dtype dtype = floating(x.dtype());
  return {cast(mean(wide, axes, keeps), dtype), cast(variance(wide, axes, keeps), dtype)};
}

Results normalize(TracedCall& call) {
  Var x = cast(call[0], floating(call[0].dtype()));
  if (x.rank() == 0) x = expanded(x, 0);
  const Index order = call.integer("order", 2);
  if (order < 1) {
    core::throw_config_error(call.name(), "order", "1 or more", std::to_string(order));
  }
  const double epsilon = call.number("epsilon", kEpsilon);
  const Axes axes = operation_axes(
      call.name(), call["axis"].is_null() ? ConfigValue(-1) : call["axis"], x.rank());
  if (order == 2) {
    const Var inverse = rsqrt(sum(square(x), axes, true));
    return {x * minimum(inverse, literal(call.trace, 1 / epsilon))};
  }
  const Var norm_of = vector_norm(x, static_cast<double>(order), axes, true);
  return {x / maximum(norm_of, literal(call.trace, epsilon))};
}

Results rms_norm(TracedCall& call) {
  const Var x = call[0];
  const Var wide = widened(x);
  const Axes axes = operation_axes(
      call.name(), call["axis"].is_null() ? ConfigValue(-1) : call["axis"], x.rank());
  Var y = wide * rsqrt(mean(square(wide), axes, true) + call.number("epsilon", kEpsilon));
  if (call.has(1)) y = y * cast(call[1], wide.dtype());
  return {cast(y, x.dtype())};
}

Results layer_norm(TracedCall& call) {
  const Var x = call[0];
  const Var wide = widened(x);
  const Axes axes = operation_axes(
      call.name(), call["axis"].is_null() ? ConfigValue(-1) : call["axis"], x.rank());
  std::vector<Index> dims(static_cast<std::size_t>(x.rank()), 1);
  for (const int axis : axes) dims[static_cast<std::size_t>(axis)] = x.dim(axis);
  const auto parameter = [&](std::size_t place) {
    const Var given = cast(call[place], wide.dtype());
    const bool is_last = axes == Axes{x.rank() - 1};
    return given.rank() == x.rank() || is_last ? given : reshaped(given, Shape::partial(dims));
  };
  const Var scale = rsqrt(variance(wide, axes, true) + call.number("epsilon", kEpsilon));
  if (call.truth("rms_scaling")) {
    const Var y = wide * scale;
    return {cast(call.has(1) ? y * parameter(1) : y, x.dtype())};
  }
  Var y = (wide - mean(wide, axes, true)) * scale;
  if (call.has(1)) y = y * parameter(1);
  if (call.has(2)) y = y + parameter(2);
  return {cast(y, x.dtype())};
}

Results batch_norm(TracedCall& call) {
  const Var x = call[0];
  const int axis = call.axis(x.rank(), -1);
  std::vector<Index> dims(static_cast<std::size_t>(x.rank()), 1);
  dims[static_cast<std::size_t>(axis)] = x.dim(axis);
  const auto wide = [&](std::size_t place) { return reshaped(call[place], Shape::partial(dims)); };
  Var scale = rsqrt(wide(2) + call.number("epsilon", 1e-3));
  if (call.has(4)) scale = scale * wide(4);
  Var shift = negative(wide(1)) * scale;
  if (call.has(3)) shift = shift + wide(3);
  return {x * scale + shift};
}

template <bool Multiplies>
Results cumulated_of(TracedCall& call) {
  Var x = call[0];
  x = cast(x, call.dtype(x.dtype()));
  if (call["axis"].is_null()) {
    return {cumulated(flattened(x), 0, Multiplies)};
  }
  return {cumulated(x, call.axis(x.rank(), 0), Multiplies)};
}

Results difference(TracedCall& call) {
  Var x = call[0];
  const int axis = call.axis(x.rank(), -1);
  const Index times = call.integer("n", 1);
  constexpr Index kMost = 1000;
  if (times < 0 || times > kMost) call.refuse("n", "0 to 1000");
  for (Index i = 0; i < times && x.dim(axis) != 0; ++i) {
    const Index size = x.dim(axis);
    const Index rest = size < 0 ? -1 : size - 1;
    const Var later = size < 0 ? sliced(x, axis, 0, rest) : sliced(x, axis, 1, size);
    x = x.dtype() == Dtype::boolean
            ? combine(ops::Logical::exactly_one, later, sliced(x, axis, 0, rest))
            : later - sliced(x, axis, 0, rest);
  }
  return {x};
}

constexpr OperationClass kClasses[] = {
    traced_class(kNumpyModule, "All", "x", truth_of<ops::Extreme::min>),
    traced_class(kNumpyModule, "Amax", "x", extreme_of<ops::Extreme::max>),
    traced_class(kNumpyModule, "Amin", "x", extreme_of<ops::Extreme::min>),
    traced_class(kNumpyModule, "Any", "x", truth_of<ops::Extreme::max>),
    traced_class(kNumpyModule, "Average", "x,weights", average),
    traced_class(kNumpyModule, "CountNonzero", "x", count_nonzero),
    traced_class(kNumpyModule, "Cumprod", "x", cumulated_of<true>),
    traced_class(kNumpyModule, "Cumsum", "x", cumulated_of<false>),
    traced_class(kNumpyModule, "Diff", "a", difference),
    traced_class(kNumpyModule, "Max", "x", extreme_of<ops::Extreme::max>),
    traced_class(kNumpyModule, "Mean", "x", mean_of),
    traced_class(kNumpyModule, "Min", "x", extreme_of<ops::Extreme::min>),
    traced_class(kNumpyModule, "Prod", "x", product_of),
    traced_class(kNumpyModule, "Ptp", "x", range_of),
    traced_class(kNumpyModule, "Std", "x", deviation),
    traced_class(kNumpyModule, "Sum", "x", sum_of),
    traced_class(kNumpyModule, "Var", "x", variance_of),
    traced_class(kMathModule, "Logsumexp", "x", logsumexp),
    traced_class(kLinalgModule, "Norm", "x", norm),
    traced_class(kNnModule, "BatchNorm", "x,mean,variance,offset,scale", batch_norm),
    traced_class(kNnModule, "LayerNorm", "x,gamma,beta", layer_norm),
    traced_class(kNnModule, "Moments", "x", moments),
    traced_class(kNnModule, "Normalize", "x", normalize),
    traced_class(kNnModule, "RMSNorm", "x,scale", rms_norm),
};

}  // namespace

std::span<const OperationClass> statistics_operations() { return kClasses; }

}  // namespace grouphead::nn
