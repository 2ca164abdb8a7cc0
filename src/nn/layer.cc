#include "grouphead/layer.h"

#include "ops/linear.h"

namespace grouphead {

Parameter::Parameter(std::string name, const Shape& shape, Dtype dtype, bool trainable)
    : name_(std::move(name)),
      value_(Tensor::zeros(shape, dtype)),
      trainable_(trainable),
      packed_(std::make_unique<detail::PackedWeights>()) {}

Parameter::~Parameter() = default;

View Parameter::edit() {
  packed_->invalidate();
  return value_.view();
}

Index count_elements(const ParameterList& parameters) noexcept {
  Index count = 0;
  for (const NamedParameter& entry : parameters) count += entry.parameter->shape().size();
  return count;
}

Grads::Grads(Context& ctx, const ParameterList& parameters) {
  for (const auto& [path, parameter] : parameters) {
    if (parameter->trainable()) {
      sums_.try_emplace(parameter, ctx.zeros(parameter->shape(), parameter->dtype()));
    }
  }
}

View Grads::of(const Parameter& parameter) {
  const auto found = sums_.find(&parameter);
  return found == sums_.end() ? View() : found->second.view();
}

void Grads::zero() noexcept {
  for (auto& [parameter, sum] : sums_) fill_zero(sum);
}

ParameterList Layer::parameters() const {
  ParameterList list;
  append_parameters("", list);
  return list;
}

}  // namespace grouphead
