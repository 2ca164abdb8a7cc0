#include "train/tensor_share.h"

#include <string>

#include "core/check.h"

namespace grouphead::train {
namespace {

void require_divisible(std::string_view what, Index count, int processes) {
  if (count % processes == 0) return;
  core::throw_config_error("train", "--tp",
                           "a divisor of the " + std::to_string(count) + " " + std::string(what),
                           std::to_string(processes));
}

}  // namespace

TensorShare::TensorShare(std::shared_ptr<Communicator> job, Index heads, Index columns)
    : parts_{.job = std::move(job)} {
  require_divisible("key/value heads", heads, parts_.job->size());
  require_divisible("feed-forward columns", columns, parts_.job->size());
}

void TensorShare::own(ParameterList parameters, AdamW& optimizer) {
  parameters_ = std::move(parameters);
  optimizer_ = &optimizer;
  std::vector<bool> are_parts;
  for (const NamedParameter& named : optimizer.parameters()) {
    are_parts.push_back(parts_.wholes.contains(named.parameter));
  }
  optimizer.share_tensors(parts_.job, std::move(are_parts));
}

const NamedParameter& TensorShare::parameter_of(Place place) const {
  const ParameterList& list = place.slot == kWeight ? parameters_ : optimizer_->parameters();
  return list[static_cast<std::size_t>(place.number)];
}

Shape TensorShare::whole_shape(Place place) const {
  const Parameter* parameter = parameter_of(place).parameter;
  const auto whole = parts_.wholes.find(parameter);
  return whole == parts_.wholes.end() ? parameter->shape() : whole->second;
}

Tensor& TensorShare::moment(Place place) {
  return optimizer_->slots()[static_cast<std::size_t>(place.slot)]
      .tensors[static_cast<std::size_t>(place.number)];
}

void TensorShare::take(Place place, ConstView whole) {
  if (place.slot != kWeight && !moment(place).has_value()) return;  // another process has it
  Parameter& parameter = *parameter_of(place).parameter;
  const View part = place.slot == kWeight ? parameter.edit() : moment(place).view();
  copy(models::part_of(whole, part.shape(), parts_.job->rank()), part);
}

WholeTensor TensorShare::tensor_at(Place place, const std::string& prefix) {
  const NamedParameter& named = parameter_of(place);
  return {
      .path = prefix + named.path,
      .shape = whole_shape(place),
      .dtype = place.slot == kWeight ? named.parameter->dtype() : named.parameter->gradient_dtype(),
      .read = [this, place] { return collect(asked(place)); },
      .take = [this, place](ConstView whole) { take(place, whole); }};
}

std::vector<WholeTensor> TensorShare::weights() {
  std::vector<WholeTensor> all;
  for (Index i = 0; i < static_cast<Index>(parameters_.size()); ++i) {
    all.push_back(tensor_at({kWeight, i}, ""));
  }
  return all;
}

std::vector<WholeTensor> TensorShare::moments() {
  std::vector<WholeTensor> all;
  for (std::size_t slot = 0; slot < optimizer_->slots().size(); ++slot) {
    for (Index i = 0; i < static_cast<Index>(optimizer_->parameters().size()); ++i) {
      all.push_back(tensor_at({static_cast<Index>(slot), i}, optimizer_->slots()[slot].name + "/"));
    }
  }
  return all;
}

TensorShare::Place TensorShare::asked(Place place) {
  Index numbers[] = {place.slot, place.number};
  parts_.job->broadcast(std::as_writable_bytes(std::span(numbers)), 0);
  return {numbers[0], numbers[1]};
}

// In all; the first one gets it.
Tensor TensorShare::collect(Place place) {
  const Parameter& parameter = *parameter_of(place).parameter;
  const ConstView own = place.slot == kWeight ? parameter.value() : moment(place).view();
  const Shape shape = whole_shape(place);
  Communicator& job = *parts_.job;
  if (own.shape() == shape) return Tensor::wrap(own);
  if (job.rank() != 0) {
    job.send(bytes_of(own), 0);
    return {};
  }
  Tensor whole(shape, own.dtype());
  copy(own, models::part_of(whole.view(), own.shape(), 0));
  Tensor other(own.shape(), own.dtype());
  for (int rank = 1; rank < job.size(); ++rank) {
    job.receive(writable_bytes_of(other), rank);
    copy(other, models::part_of(whole.view(), own.shape(), rank));
  }
  return whole;
}

void TensorShare::save(const std::function<void()>& write) {
  if (parts_.job->rank() == 0) {
    write();
    asked(kNothing);
    return;
  }
  for (Place place = asked({}); place.slot != kNothing.slot; place = asked({})) collect(place);
}

}  // namespace grouphead::train
