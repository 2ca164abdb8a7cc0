#include "nn/decoding.h"

#include <algorithm>
#include <string>

#include "core/check.h"
#include "grouphead/core/tensor_functions.h"
#include "nn/operations/operation.h"

namespace grouphead {
namespace {

enum class Rule : int {
  each,         // on every element or last axis, whatever the configuration
  elementwise,  // operands broadcast against each other
  axes,         // along the axes of the configuration
  equation      // EinsumDense
};

struct Known {
  std::string_view class_name;
  Rule rule;
};

constexpr Known kLayers[] = {
    {"Activation", Rule::axes},        {"ActivityRegularization", Rule::each},
    {"Add", Rule::elementwise},        {"AlphaDropout", Rule::each},
    {"Average", Rule::elementwise},    {"BatchNormalization", Rule::axes},
    {"Concatenate", Rule::axes},       {"Dense", Rule::each},
    {"Dropout", Rule::each},           {"ELU", Rule::each},
    {"EinsumDense", Rule::equation},   {"Embedding", Rule::each},
    {"GaussianDropout", Rule::each},   {"GaussianNoise", Rule::each},
    {"Identity", Rule::each},          {"LayerNormalization", Rule::axes},
    {"LeakyReLU", Rule::each},         {"Maximum", Rule::elementwise},
    {"Minimum", Rule::elementwise},    {"Multiply", Rule::elementwise},
    {"RMSNormalization", Rule::axes},  {"ReLU", Rule::each},
    {"Rescaling", Rule::each},         {"Softmax", Rule::axes},
    {"SpatialDropout1D", Rule::each},  {"Subtract", Rule::elementwise},
    {"UnitNormalization", Rule::axes},
};

// Of keras.ops; all others are refused.
constexpr Known kOperations[] = {
    {"Abs", Rule::elementwise},
    {"Absolute", Rule::elementwise},
    {"Add", Rule::elementwise},
    {"Cast", Rule::elementwise},
    {"Celu", Rule::elementwise},
    {"Clip", Rule::elementwise},
    {"Concatenate", Rule::axes},
    {"Cos", Rule::elementwise},
    {"Divide", Rule::elementwise},
    {"Elu", Rule::elementwise},
    {"Equal", Rule::elementwise},
    {"Erf", Rule::elementwise},
    {"Exp", Rule::elementwise},
    {"Gelu", Rule::elementwise},
    {"Greater", Rule::elementwise},
    {"GreaterEqual", Rule::elementwise},
    {"HardSigmoid", Rule::elementwise},
    {"HardSilu", Rule::elementwise},
    {"HardTanh", Rule::elementwise},
    {"LeakyRelu", Rule::elementwise},
    {"Less", Rule::elementwise},
    {"LessEqual", Rule::elementwise},
    {"Log", Rule::elementwise},
    {"Log1p", Rule::elementwise},
    {"LogSigmoid", Rule::elementwise},
    {"LogSoftmax", Rule::axes},
    {"LogicalAnd", Rule::elementwise},
    {"LogicalNot", Rule::elementwise},
    {"LogicalOr", Rule::elementwise},
    {"Maximum", Rule::elementwise},
    {"Mean", Rule::axes},
    {"Minimum", Rule::elementwise},
    {"Multiply", Rule::elementwise},
    {"Negative", Rule::elementwise},
    {"NotEqual", Rule::elementwise},
    {"OnesLike", Rule::elementwise},
    {"Power", Rule::elementwise},
    {"Reciprocal", Rule::elementwise},
    {"Relu", Rule::elementwise},
    {"Relu6", Rule::elementwise},
    {"Rsqrt", Rule::elementwise},
    {"Selu", Rule::elementwise},
    {"Sigmoid", Rule::elementwise},
    {"Sign", Rule::elementwise},
    {"Silu", Rule::elementwise},
    {"Sin", Rule::elementwise},
    {"Softmax", Rule::axes},
    {"Softplus", Rule::elementwise},
    {"Sqrt", Rule::elementwise},
    {"Square", Rule::elementwise},
    {"Subtract", Rule::elementwise},
    {"Tanh", Rule::elementwise},
    {"TrueDivide", Rule::elementwise},
    {"Where", Rule::elementwise},
    {"ZerosLike", Rule::elementwise},
};

int largest_rank(std::span<const Shape> shapes) {
  int rank = 0;
  for (const Shape& shape : shapes) rank = std::max(rank, shape.rank());
  return rank;
}

// Whether an operand is the same at every position, or has positions where the others have them.
bool meets_positions(const Shape& shape, int rank, bool is_literal) {
  const int axis = 1 - (rank - shape.rank());
  if (axis < 0) return true;
  return shape.rank() == rank ? !is_literal || shape[1] == 1 : shape[axis] == 1;
}

bool is_elementwise(std::span<const Shape> inputs, const CallArguments* arguments) {
  const int rank = largest_rank(inputs);
  const auto meets = [&](const Shape& shape) { return meets_positions(shape, rank, false); };
  if (rank < 2 || !std::all_of(inputs.begin(), inputs.end(), meets)) return false;
  const auto* given = dynamic_cast<const nn::OperationArguments*>(arguments);
  if (given == nullptr) return true;
  return std::all_of(given->literals.begin(), given->literals.end(), [&](const auto& literal) {
    return !literal || !literal->tensor.has_value() ||
           (literal->tensor.rank() <= rank && meets_positions(literal->tensor.shape(), rank, true));
  });
}

// Whether the axes of a configuration are behind that of positions.
bool has_inner_axes(const Layer& layer, std::span<const Shape> inputs) {
  const int rank = largest_rank(inputs);
  const ConfigValue axis = layer.get_config()["axis"];
  const auto is_inner = [&](const ConfigValue& one) {
    const Index number = one.as_integer("axis");
    return (number < 0 ? number + rank : number) >= 2;
  };
  if (axis.is_null()) {
    return layer.class_name() != "Mean" && rank >= 3;  // the last one
  }
  if (!axis.is_list()) return is_inner(axis);
  const auto& list = axis.as_list("axis");
  return std::all_of(list.begin(), list.end(), is_inner);
}

// "abc,cd->abd": both results and operands begin with the same two axes, which the weights lack.
bool keeps_first_axes(const Layer& layer) {
  const std::string equation = layer.get_config()["equation"].as_string("equation");
  const std::size_t comma = equation.find(',');
  const std::size_t arrow = equation.find("->");
  if (comma == std::string::npos || arrow == std::string::npos) return false;
  const std::string x = equation.substr(0, comma);
  const std::string weights = equation.substr(comma + 1, arrow - comma - 1);
  const std::string y = equation.substr(arrow + 2);
  if (x.starts_with("...")) return y.starts_with("...");
  return x.size() > 2 && y.size() >= 2 && x.substr(0, 2) == y.substr(0, 2) &&
         weights.find_first_of(x.substr(0, 2)) == std::string::npos;
}

}  // namespace

bool nn::acts_on_positions(const Layer& layer, std::span<const Shape> inputs,
                           const CallArguments* arguments) {
  const bool is_operation = dynamic_cast<const Operation*>(&layer) != nullptr;
  const std::span<const Known> known =
      is_operation ? std::span<const Known>(kOperations) : std::span<const Known>(kLayers);
  const auto found = std::find_if(known.begin(), known.end(), [&](const Known& one) {
    return one.class_name == layer.class_name();
  });
  if (found == known.end() || (!is_operation && layer.module() != "keras.layers")) return false;
  switch (found->rule) {
    case Rule::each:
      return true;
    case Rule::elementwise:
      return is_elementwise(inputs, arguments);
    case Rule::axes:
      return has_inner_axes(layer, inputs) && is_elementwise(inputs, arguments);
    case Rule::equation:
      return keeps_first_axes(layer);
  }
  return false;
}

bool Layer::can_decode(std::span<const Shape> inputs, const CallArguments* arguments) const {
  return nn::acts_on_positions(*this, inputs, arguments);
}

namespace nn {

KvCache& DecodingState::next_cache(Context& ctx, KvCacheConfig config) {
  if (next == caches.size()) {
    config.capacity = capacity;
    config.dtype = cache_dtype.value_or(config.dtype);
    caches.emplace_back(ctx, config);
  }
  return caches[next++];
}

void require_decodable(const Layer& layer, std::span<const Value> in, const Mode& mode) {
  std::vector<Shape> shapes;
  for (const Value& value : in) {
    shapes.push_back(value.tensor.has_value() ? value.tensor.shape() : Shape());
  }
  if (layer.can_decode(shapes, mode.arguments)) return;
  core::throw_config_error("decode", layer.name(),
                           "causal self-attention or a layer that works on each position alone",
                           layer.class_name());
}

void require_no_padding(std::string_view layer, std::string_view operand, const Tensor& mask) {
  if (!mask.has_value()) return;
  const Tensor shown = mask.dtype() == Dtype::boolean ? mask : cast(mask, Dtype::boolean);
  for (Index i = 0; i < shown.size(); ++i) {
    if (!shown.view().reshaped({shown.size()}).data<bool>()[i]) {
      core::throw_config_error(layer, operand, "no padding while a Decoder runs",
                               "hidden positions");
    }
  }
}

}  // namespace nn
}  // namespace grouphead
