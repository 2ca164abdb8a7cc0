// errors.json of golden folders in Keras's format.

#include <fmt/format.h>

#include <algorithm>

#include "grouphead/layers/serialization.h"
#include "testing/keras_call.h"
#include "testing/keras_case.h"

namespace grouphead::testing {
namespace {

/// The call with shapes for tensors: operands in their order, or one list of inputs.
ConfigValue call_with_shapes(const Layer& layer, const ConfigValue& entry) {
  ConfigValue call = entry["call"];
  const ConfigValue::List& shapes = entry["call_shapes"].as_list("call_shapes");
  const auto names = layer.input_names();
  const bool takes_list = std::find(names.begin(), names.end(), "attention_mask") == names.end();
  if (takes_list) {
    if (shapes.size() != 1) throw IoError("[golden] call_shapes: expected one list of shapes");
    call.set("inputs", shapes[0]);
    return call;
  }
  for (std::size_t i = 0; i < shapes.size(); ++i) {
    if (i >= names.size()) throw IoError("[golden] call_shapes: more than the layer has operands");
    call.set(names[i], shapes[i]);
  }
  return call;
}

/// Zeros, or a mask that is true everywhere.
Tensor tensor_for(const Shape& shape, bool is_mask) {
  if (!is_mask) return Tensor::zeros(shape);
  Tensor mask(shape, Dtype::boolean);
  std::fill(mask.data<bool>(), mask.data<bool>() + mask.size(), true);
  return mask;
}

void call_layer(Context& ctx, Layer& layer, const ConfigValue& entry) {
  const KerasCall call = read_call(layer, call_with_shapes(layer, entry));
  const auto names = layer.input_names();
  std::vector<Value> values(call.operands.size());
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (call.operands[i].is_null()) continue;
    const bool is_mask = i < names.size() && names[i].ends_with("mask");
    values[i].tensor = tensor_for(call.operands[i].as_shape("call_shapes"), is_mask);
  }
  RandomStream random(0);
  layer.build(shapes_of(values), random);
  const auto arguments = layer.arguments_from_config(call.keywords);
  Mode mode;
  mode.training = call.training;
  mode.arguments = arguments.get();
  layer.call(ctx, values, mode, nullptr);
}

void call_on_symbols(const Layer& layer, const ConfigValue& entry) {
  const KerasCall call = read_call(layer, call_with_shapes(layer, entry));
  std::vector<Shape> shapes;
  for (const ConfigValue& shape : call.operands) {
    shapes.push_back(shape.is_null() ? Shape{} : shape.as_shape("call_shapes"));
  }
  const auto arguments = layer.arguments_from_config(call.keywords);
  layer.output_shapes(shapes, arguments.get());
}

void run_stages(Context& ctx, const ConfigValue& entry) {
  const std::string& stage = entry["stage"].as_string("stage");
  const std::shared_ptr<Layer> layer =
      make_layer(entry["layer"].as_string("layer"), entry["kwargs"]);
  if (stage == "call") {
    call_layer(ctx, *layer, entry);
  } else if (stage == "symbolic call") {
    call_on_symbols(*layer, entry);
  }
}

void require_understood(const ConfigValue& entry) {
  require_known_fields(entry, "error",
                       {"name", "layer", "kwargs", "stage", "call_shapes", "call", "raises"});
  const std::string& layer = entry["layer"].as_string("layer");
  const std::vector<std::string_view> layers = layer_class_names();
  if (std::find(layers.begin(), layers.end(), layer) == layers.end()) {
    throw IoError("[golden] layer: expected one that is known, got " + layer);
  }
  const std::string& stage = entry["stage"].as_string("stage");
  if (stage != "construct" && stage != "call" && stage != "symbolic call") {
    throw IoError("[golden] stage: expected one that is known, got " + stage);
  }
}

}  // namespace

void check_refusal(Context& ctx, const ConfigValue& entry) {
  require_understood(entry);
  std::string refusal;
  try {
    run_stages(ctx, entry);
  } catch (const Error& error) {
    refusal = error.what();
  }
  const ConfigValue& raises = entry["raises"];
  if (raises.is_null() != refusal.empty()) {
    throw IoError(fmt::format("[golden] {}: expected {}, got {}", entry["stage"].to_string(),
                              raises.is_null() ? "no error" : raises.to_string(),
                              refusal.empty() ? "none" : refusal));
  }
}

}  // namespace grouphead::testing
