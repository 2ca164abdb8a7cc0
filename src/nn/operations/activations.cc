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

template <Activation::Kind Kind>
Results activation(TracedCall& call) {
  return {activated(call[0], Kind)};
}

constexpr OperationClass kClasses[] = {
    traced_class(kNnModule, "Gelu", "x", gelu),
    traced_class(kNnModule, "LogSoftmax", "x",
                 [](TracedCall& call) { return softmax_of(call, log_softmax); }),
    traced_class(kNnModule, "Relu", "x", relu),
    traced_class(kNnModule, "Silu", "x", activation<Activation::silu>),
    traced_class(kNnModule, "Softmax", "x",
                 [](TracedCall& call) { return softmax_of(call, softmax); }),
};

}  // namespace

std::span<const OperationClass> activation_operations() { return kClasses; }

}  // namespace grouphead::nn
