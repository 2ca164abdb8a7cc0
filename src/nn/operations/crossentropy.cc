// keras.ops' cross-entropies.

#include "core/check.h"
#include "nn/operations/traced.h"

namespace grouphead::nn {
namespace {

using namespace steps;
using Results = std::vector<Var>;
using ops::Unary;

constexpr double kEpsilon = 1e-7;  // keras.backend.epsilon()

Var clipped(Var x) {
  return minimum(maximum(x, literal(x.trace(), kEpsilon)), literal(x.trace(), 1 - kEpsilon));
}

Var log_of(Var x) { return unary(Unary::log, x); }

Var log_probabilities(const TracedCall& call, Var output, int axis) {
  if (call.truth("from_logits")) return log_softmax(output, axis);
  return log_of(clipped(output / sum(output, {axis}, true)));
}

Results binary(TracedCall& call) {
  const Var output = cast(call[1], floating(call[1].dtype()));
  const Var target = call[0];
  if (call.truth("from_logits")) {
    // log(sigmoid(x)) = min(x, 0) - log(1 + exp(-|x|)), and that of -x is less by x.
    const Var small =
        unary(Unary::log1p, unary(Unary::exp, negative(unary(Unary::absolute, output))));
    const Var log_yes = minimum(output, literal(call.trace, 0.0)) - small;
    return {negative(target * log_yes) - (1 - target) * (log_yes - output)};
  }
  const Var p = clipped(output);
  return {negative(target * log_of(p) + (1 - target) * log_of(1 - p))};
}

Results categorical(TracedCall& call) {
  const Var output = cast(call[1], floating(call[1].dtype()));
  const int axis = call.axis(output.rank(), -1);
  return {negative(sum(call[0] * log_probabilities(call, output, axis), {axis}, false))};
}

Results sparse_categorical(TracedCall& call) {
  const Var output = cast(call[1], floating(call[1].dtype()));
  const int axis = call.axis(output.rank(), -1);
  Var target = cast(call[0], Dtype::i32);
  if (target.rank() == output.rank() && target.dim(target.rank() - 1) == 1) {
    target = squeezed(target, target.rank() - 1);
  }
  if (target.rank() + 1 != output.rank() || axis != output.rank() - 1) {
    core::throw_shape_error(call.name(), "target", "output's shape without its last axis",
                            call[0].shape().to_string());
  }
  const Var places = expanded(target, axis);
  const Var log_p = log_probabilities(call, output, axis);
  // A class that there is not has no probability to lose.
  const Var is_class =
      combine(ops::Logical::both,
              compare(ops::Comparison::greater_equal, places, literal(call.trace, Index{0})),
              compare(ops::Comparison::less, places, literal(call.trace, output.dim(axis))));
  const Var safe = select(is_class, places, literal(call.trace, Index{0}));
  const Var chosen = select(is_class, taken_along(log_p, axis, safe), literal(call.trace, 0.0));
  return {negative(squeezed(chosen, axis))};
}

constexpr OperationClass kClasses[] = {
    traced_class(kNnModule, "BinaryCrossentropy", "target,output", binary),
    traced_class(kNnModule, "CategoricalCrossentropy", "target,output", categorical),
    traced_class(kNnModule, "SparseCategoricalCrossentropy", "target,output", sparse_categorical),
};

}  // namespace

std::span<const OperationClass> crossentropy_operations() { return kClasses; }

}  // namespace grouphead::nn
