// Initializers, regularizers, constraints, schedules, optimizers, losses and metrics.

#include "entries.h"
#include "grouphead/layers/constraints.h"
#include "grouphead/layers/initializers.h"
#include "grouphead/layers/regularizers.h"
#include "grouphead/train/losses.h"
#include "grouphead/train/metrics.h"
#include "grouphead/train/optimizers.h"
#include "grouphead/train/schedules.h"
#include "handles.h"
#include "values.h"

namespace gr {
namespace {

/// A rule's configuration with all it has, made by the library.
gh::ConfigValue full_config(const std::string& kind, const gh::ConfigValue& envelope) {
  if (kind == "initializer") return gh::Initializer(envelope)->get_config();
  if (kind == "regularizer") return gh::Regularizer(envelope)->get_config();
  if (kind == "constraint") return gh::Constraint(envelope)->get_config();
  if (kind == "schedule") return gh::LearningRate::from_config(envelope).config()["config"];
  if (kind == "optimizer") return gh::Optimizer::from_config(envelope)->get_config();
  if (kind == "loss") return gh::Loss(envelope)->get_config();
  if (kind == "metric") return gh::Metric::from_config(envelope)->get_config();
  throw gh::ConfigError("[R] kind: expected one of the package's, got " + kind);
}

gh::Shape shape_from(SEXP sizes) {
  const std::vector<gh::Index> held = to_sizes(sizes, "shape");
  return gh::Shape(std::span<const gh::Index>(held));
}

struct Compared {
  gh::Tensor target, prediction, weight;
  gh::LossOperands operands() const {
    return {.target = target, .prediction = prediction, .sample_weight = weight};
  }
};

Compared compared(SEXP y_true, SEXP y_pred, SEXP sample_weight) {
  return {to_tensor(y_true, "y_true",
                    TYPEOF(y_true) == REALSXP ? std::optional(gh::Dtype::f64) : std::nullopt),
          to_tensor(y_pred, "y_pred", gh::Dtype::f64),
          to_tensor(sample_weight, "sample_weight", gh::Dtype::f64)};
}

}  // namespace
}  // namespace gr

using namespace gr;

SEXP gr_check_rule(SEXP kind, SEXP envelope) {
  BEGIN_CPP11
  return from_config(full_config(to_text(kind, "kind"), to_config(envelope, "config")));
  END_CPP11
}

SEXP gr_initialize(SEXP envelope, SEXP shape, SEXP seed) {
  BEGIN_CPP11
  const gh::Shape wanted = shape_from(shape);
  gh::Tensor w(wanted, gh::Dtype::f32);
  gh::RandomStream random(static_cast<std::uint64_t>(to_index(seed, "seed")));
  gh::Initializer(to_config(envelope, "initializer"))->fill(w, gh::fans_of(wanted), random);
  return from_tensor(w);
  END_CPP11
}

SEXP gr_penalty(SEXP envelope, SEXP x) {
  BEGIN_CPP11
  const gh::Tensor held = to_tensor(x, "x", gh::Dtype::f64);
  const gh::Regularizer rule(to_config(envelope, "regularizer"));
  return cpp11::safe[Rf_ScalarReal](rule->value(context(), held));
  END_CPP11
}

SEXP gr_constrain(SEXP envelope, SEXP w) {
  BEGIN_CPP11
  gh::Tensor held = to_tensor(w, "w", gh::Dtype::f64);
  gh::Constraint(to_config(envelope, "constraint"))->apply(context(), held);
  return from_tensor(held);
  END_CPP11
}

SEXP gr_loss(SEXP envelope, SEXP y_true, SEXP y_pred, SEXP sample_weight, SEXP each) {
  BEGIN_CPP11
  const gh::Loss rule(to_config(envelope, "loss"));
  const Compared held = compared(y_true, y_pred, sample_weight);
  if (to_flag(each, "each")) return from_tensor(rule->values(context(), held.operands()));
  if (rule->reduction() == gh::Reduction::none) {
    return from_tensor(rule->value_and_gradient(context(), held.operands()).values);
  }
  return cpp11::safe[Rf_ScalarReal](rule->value(context(), held.operands()));
  END_CPP11
}

SEXP gr_metric(SEXP envelope, SEXP y_true, SEXP y_pred, SEXP sample_weight) {
  BEGIN_CPP11
  const auto metric = gh::Metric::from_config(to_config(envelope, "metric"));
  const Compared held = compared(y_true, y_pred, sample_weight);
  metric->update(context(), held.operands());
  return cpp11::safe[Rf_ScalarReal](metric->result());
  END_CPP11
}
