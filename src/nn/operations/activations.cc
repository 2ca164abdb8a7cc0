// Softmax and the activation functions that take settings.

#include <limits>

#include "core/check.h"
#include "nn/operations/traced.h"

namespace grouphead::nn {
namespace {

using namespace steps;
using Results = std::vector<Var>;
using ops::Unary;

/// Keras takes `axis` as a number or, of softmax, as a list of axes.
Results softmax_of(TracedCall& call, Var (*function)(Var, int)) {
  const Var x = call[0];
  const ConfigValue& axis = call["axis"];
  if (!axis.is_list()) return {function(x, call.axis(x.rank(), -1))};
  const Axes axes = call.axes(x.rank());
  Axes order;
  Index size = 1;
  for (const int each : all_axes(x.rank())) {
    if (std::find(axes.begin(), axes.end(), each) == axes.end()) order.push_back(each);
  }
  for (const int each : axes) {
    order.push_back(each);
    size = size < 0 || x.dim(each) < 0 ? -1 : size * x.dim(each);
  }
  const Var turned = transposed(x, order);
  std::vector<Index> dims(turned.shape().begin(),
                          turned.shape().end() - static_cast<std::ptrdiff_t>(axes.size()));
  dims.push_back(size);
  const Var y = function(reshaped(turned, Shape::partial(dims)), static_cast<int>(dims.size()) - 1);
  Axes back(order.size());
  for (std::size_t i = 0; i < order.size(); ++i) {
    back[static_cast<std::size_t>(order[i])] = static_cast<int>(i);
  }
  return {transposed(reshaped(y, turned.shape()), back)};
}

Results gelu(TracedCall& call) {
  const bool is_exact = !call["approximate"].is_null() && !call.truth("approximate");
  return {activated(call[0], is_exact ? Activation::gelu : Activation::gelu_tanh)};
}

/// Integers stay integers.
Results relu(TracedCall& call) {
  const Var x = call[0];
  if (ops::is_floating(x.dtype())) return {activated(x, Activation::relu)};
  return {maximum(cast(x, without_bool(x.dtype())), literal(call.trace, Index{0}))};
}

/// With the settings that Keras's function has.
template <Activation::Kind Kind>
Results activation(TracedCall& call) {
  Activation function(Kind);
  for (const std::string_view key : {"alpha", "b", "negative_slope", "threshold"}) {
    if (!call[key].is_null()) function = function.with(key, call[key].as_number(key));
  }
  return {activated(call[0], function)};
}

/// As Keras computes it: the threshold comes of the sum of all running sums in the support, where
/// the paper (Martins and Astudillo 2016, arXiv:1602.02068) takes the last of them.
Results sparsemax(TracedCall& call) {
  const Var x = cast(call[0], floating(call[0].dtype()));
  const int axis = call.axis(x.rank(), -1);
  const Var sorted = taken_along(x, axis, order(x, axis, true));
  const Var sums = cumulated(sorted, axis, false);
  const Var ranks = cumulated(filled(call.trace, 1, x.shape(), x.dtype()), axis, false);
  const Var support = greater(sorted - (sums - 1.0) / ranks, 0.0);
  const Var total = sum(select(support, sums, literal(call.trace, 0.0)), {axis}, true);
  const Var threshold = (total - 1.0) / cast(sum(support, {axis}, true), x.dtype());
  return {maximum(x - threshold, literal(call.trace, 0.0))};
}

/// One half times the sigmoid of the other.
Results glu(TracedCall& call) {
  const Var x = cast(call[0], floating(call[0].dtype()));
  const int axis = call.axis(x.rank(), -1);
  const Index size = x.dim(axis);
  if (size >= 0 && size % 2 != 0) {
    core::throw_shape_error(call.name(), "x", "two halves along the axis", x.shape().to_string());
  }
  const Index half = size < 0 ? -1 : size / 2;
  const Var gate = size < 0 ? sliced(x, axis, 0, -1) : sliced(x, axis, half, size);
  return {sliced(x, axis, 0, half) * unary(Unary::sigmoid, gate)};
}

Results threshold(TracedCall& call) {
  const auto number = [&](std::string_view key) {
    return literal(call.trace, call[key].as_number(key));
  };
  const Var is_above = compare(ops::Comparison::greater, call[0], number("threshold"));
  return {select(is_above, call[0], number("default_value"))};
}

constexpr OperationClass nn_class(std::string_view name, TracedFunction function) {
  return traced_class(kNnModule, name, "x", function);
}

constexpr OperationClass kClasses[] = {
    nn_class("Celu", activation<Activation::celu>),
    nn_class("Elu", activation<Activation::elu>),
    nn_class("Gelu", gelu),
    nn_class("Glu", glu),
    nn_class("HardShrink", activation<Activation::hard_shrink>),
    nn_class("HardSigmoid", activation<Activation::hard_sigmoid>),
    nn_class("HardSilu", activation<Activation::hard_silu>),
    nn_class("HardTanh", activation<Activation::hard_tanh>),
    nn_class("LeakyRelu", activation<Activation::leaky_relu>),
    nn_class("LogSigmoid", activation<Activation::log_sigmoid>),
    nn_class("LogSoftmax", [](TracedCall& call) { return softmax_of(call, log_softmax); }),
    nn_class("Relu", relu),
    nn_class("Relu6", activation<Activation::relu6>),
    nn_class("Selu", activation<Activation::selu>),
    nn_class("Silu", activation<Activation::silu>),
    nn_class("SoftShrink", activation<Activation::soft_shrink>),
    nn_class("Softmax", [](TracedCall& call) { return softmax_of(call, softmax); }),
    nn_class("Softplus", activation<Activation::softplus>),
    nn_class("Softsign", activation<Activation::softsign>),
    nn_class("SparsePlus", activation<Activation::sparse_plus>),
    nn_class("SparseSigmoid", activation<Activation::sparse_sigmoid>),
    nn_class("Sparsemax", sparsemax),
    nn_class("Squareplus", activation<Activation::squareplus>),
    nn_class("TanhShrink", activation<Activation::tanh_shrink>),
    nn_class("Threshold", threshold),
};

}  // namespace

std::span<const OperationClass> activation_operations() { return kClasses; }

}  // namespace grouphead::nn
