#pragma once

#include <functional>
#include <string>
#include <vector>

#include "grouphead/layers/layer.h"
#include "grouphead/train/optimizers.h"

namespace grouphead::train {

/// A tensor of what a training run saves, whole, whoever has it.
struct WholeTensor {
  std::string path{};
  Shape shape{};
  Dtype dtype = Dtype::f32;
  /// Within TextTraining::save(), in the first process.
  std::function<Tensor()> read{};
  /// Sets what this process has of it.
  std::function<void(ConstView whole)> take{};
};

/// Parameters that this process has whole.
std::vector<WholeTensor> whole_tensors(const ParameterList& parameters);
/// The state of an optimizer of such parameters, `<slot>/<path of the parameter>`.
std::vector<WholeTensor> whole_tensors(Optimizer& optimizer);

}  // namespace grouphead::train
