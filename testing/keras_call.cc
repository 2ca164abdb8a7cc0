#include "testing/keras_call.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "core/check.h"

namespace grouphead::testing {
namespace {

/// Sorts fields one by one.
class Reader {
 public:
  explicit Reader(const Layer& layer) : layer_(layer), names_(layer.input_names()) {}

  KerasCall read(const ConfigValue& call) {
    for (const auto& [key, value] : call.as_object("call")) {
      if (key == "training") {
        call_.training = value.as_bool(key);
      } else if (key == "inputs") {
        read_inputs(value);
      } else if (key == "mask" && position("query_mask") < names_.size()) {
        read_masks(value);
      } else if (position(key) < names_.size()) {
        set(position(key), value);
      } else if (key != "implicit_masks" && !value.is_null()) {
        call_.keywords.set(key, value);
      }
    }
    attach(call["implicit_masks"]);
    while (!call_.operands.empty() && call_.operands.back().is_null()) call_.operands.pop_back();
    return std::move(call_);
  }

 private:
  std::size_t position(std::string_view name) const {
    return static_cast<std::size_t>(std::find(names_.begin(), names_.end(), name) - names_.begin());
  }

  void set(std::size_t operand, const ConfigValue& value) {
    if (value.is_null()) return;
    if (call_.operands.size() <= operand) call_.operands.resize(operand + 1);
    call_.operands[operand] = value;
  }

  static bool is_one_tensor(const ConfigValue& value) {
    return value.is_string() || (value.is_list() && !value.as_list("inputs").empty() &&
                                 value.as_list("inputs")[0].is_integer());
  }

  void read_inputs(const ConfigValue& value) {
    if (is_one_tensor(value)) return set(0, value);
    const ConfigValue::List& list = value.as_list("inputs");
    for (std::size_t i = 0; i < list.size(); ++i) {
      // Masks are no inputs: the list ends where their operands begin.
      if (names_.size() > 1 && i >= std::min(position("query_mask"), names_.size())) {
        core::throw_shape_error(layer_.name(), "inputs",
                                "at most " + std::to_string(position("query_mask")) + " tensors",
                                std::to_string(list.size()));
      }
      set(i, list[i]);
    }
  }

  void read_masks(const ConfigValue& value) {
    if (value.is_null()) return;
    constexpr std::array<std::string_view, 3> kMasks = {"query_mask", "value_mask", "key_mask"};
    const bool is_list = value.is_list() && !is_one_tensor(value);
    const std::size_t size = is_list ? value.as_list("mask").size() : 0;
    if (size < 2 || size > kMasks.size()) {
      core::throw_shape_error(layer_.name(), "mask", "[query_mask, value_mask]", value.to_string());
    }
    for (std::size_t i = 0; i < size; ++i) {
      const ConfigValue& mask = value.as_list("mask")[i];
      if (position(kMasks[i]) < names_.size()) set(position(kMasks[i]), mask);
    }
  }

  /// A mask belongs to a tensor, so every operand that is this tensor has it. Keys are names of
  /// operands, or positions in the list of a layer that takes one.
  void attach(const ConfigValue& masks) {
    if (masks.is_null()) return;
    for (const auto& [key, mask] : masks.as_object("implicit_masks")) {
      std::size_t operand = key == "inputs" ? 0 : position(key);
      if (names_.size() == 1) std::from_chars(key.data(), key.data() + key.size(), operand);
      if (operand >= call_.operands.size() || !call_.operands[operand].is_string()) {
        core::throw_shape_error(layer_.name(), "implicit_masks", "names of operands", key);
      }
      call_.masks[call_.operands[operand].as_string(key)] = mask.as_string("implicit_masks");
    }
  }

  const Layer& layer_;
  std::span<const std::string_view> names_;
  KerasCall call_;
};

Tensor as_mask(const Tensor& tensor) {
  Tensor mask(tensor.shape(), Dtype::boolean);
  if (tensor.dtype() == Dtype::boolean) return tensor;
  const auto* from = tensor.data<std::uint8_t>();
  std::transform(from, from + tensor.size(), mask.data<bool>(), [](auto x) { return x != 0; });
  return mask;
}

}  // namespace

KerasCall read_call(const Layer& layer, const ConfigValue& call) {
  return Reader(layer).read(call);
}

std::vector<Value> operand_values(const KerasCall& call,
                                  const std::function<Tensor(const ConfigValue&)>& tensor_of) {
  std::vector<Value> values(call.operands.size());
  for (std::size_t i = 0; i < values.size(); ++i) {
    const ConfigValue& operand = call.operands[i];
    if (operand.is_null()) continue;
    values[i].tensor = tensor_of(operand);
    if (!operand.is_string()) continue;
    const auto mask = call.masks.find(operand.as_string("operand"));
    if (mask != call.masks.end()) values[i].mask = as_mask(tensor_of(ConfigValue(mask->second)));
  }
  return values;
}

std::vector<Shape> shapes_of(const std::vector<Value>& values) {
  std::vector<Shape> shapes;
  for (const Value& value : values) {
    shapes.push_back(value.tensor.has_value() ? value.tensor.shape() : Shape{});
  }
  return shapes;
}

}  // namespace grouphead::testing
