#pragma once

// A layer's call as golden files in Keras's format describe it.

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "grouphead/layers/layer.h"

namespace grouphead::testing {

/// Which tensor is which operand, and everything else of the call.
struct KerasCall {
  std::vector<ConfigValue> operands{};         ///< in the layer's order, null: not given
  std::map<std::string, std::string> masks{};  ///< tensor -> the mask that is attached to it
  ConfigValue keywords = ConfigValue::Object{};
  bool training = false;
};

/// Sorts the fields of `call`: `training` and `implicit_masks`; operands under the layer's
/// input_names(), or `inputs`, one or a list in their order; `mask`, for a layer with masks of its
/// first operands the list of these; all others are keywords, unless null. Operands are what stands
/// there: names of tensors, or shapes. Errors: Error for what the layer cannot be called with.
KerasCall read_call(const Layer& layer, const ConfigValue& call);

/// The values of the operands, each made by `tensor_of` from what stands for it.
std::vector<Value> operand_values(const KerasCall& call,
                                  const std::function<Tensor(const ConfigValue&)>& tensor_of);
/// The shapes of values, [] where there is no tensor.
std::vector<Shape> shapes_of(const std::vector<Value>& values);

}  // namespace grouphead::testing
