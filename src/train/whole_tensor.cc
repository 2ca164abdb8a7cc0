#include "train/whole_tensor.h"

namespace grouphead::train {

std::vector<WholeTensor> whole_tensors(const ParameterList& parameters) {
  std::vector<WholeTensor> all;
  for (const NamedParameter& named : parameters) {
    Parameter& parameter = *named.parameter;
    all.push_back({.path = named.path,
                   .shape = parameter.shape(),
                   .dtype = parameter.dtype(),
                   .read = [&parameter] { return Tensor::wrap(parameter.value()); },
                   .take = [&parameter](ConstView whole) { copy(whole, parameter.edit()); }});
  }
  return all;
}

std::vector<WholeTensor> whole_tensors(Optimizer& optimizer) {
  std::vector<WholeTensor> all;
  for (OptimizerSlot& slot : optimizer.slots()) {
    for (std::size_t i = 0; i < slot.tensors.size(); ++i) {
      const NamedParameter& named = optimizer.parameters()[i];
      Tensor& state = slot.tensors[i];
      all.push_back({.path = slot.name + "/" + named.path,
                     .shape = named.parameter->shape(),
                     .dtype = named.parameter->gradient_dtype(),
                     .read = [&state] { return Tensor::wrap(state.view()); },
                     .take =
                         [&state](ConstView whole) {
                           if (state.has_value()) copy(whole, state);  // else another process's
                         }});
    }
  }
  return all;
}

}  // namespace grouphead::train
