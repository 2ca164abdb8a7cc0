// Constraints and regularizers of golden folders in Keras's format.

#include "grouphead/layers/constraints.h"
#include "grouphead/layers/regularizers.h"
#include "testing/keras_case.h"

namespace grouphead::testing {
namespace {

template <class Rule>
Choice<Rule> rule_of(const KerasCase& each) {
  require_known_fields(each["call"], "call", {"input"});
  return Choice<Rule>(
      config_envelope(Rule::kModule, each["layer"].as_string("layer"), each["config"]));
}

const Tensor& input_of(const KerasCase& each) {
  return each.tensor(each["call"]["input"].as_string("call.input"));
}

}  // namespace

void run_constraint_case(KerasCase& each) {
  const Constraint constraint = rule_of<ConstraintRule>(each);
  Tensor w = input_of(each).clone();
  constraint->apply(each.ctx(), w);
  for (const std::string& name : each.expected()) {
    if (name.ends_with(".output")) each.compare(name, w);
  }
}

void run_regularizer_case(KerasCase& each) {
  const Regularizer regularizer = rule_of<RegularizerRule>(each);
  const Tensor& x = input_of(each);
  Tensor d_x = Tensor::zeros(x.shape(), x.dtype());
  regularizer->add_gradient(each.ctx(), x, 1, d_x);
  for (const std::string& name : each.expected()) {
    if (name.ends_with(".value")) each.compare(name, regularizer->value(each.ctx(), x));
    if (name.ends_with(".gradient")) each.compare(name, d_x);
  }
}

}  // namespace grouphead::testing
