// Models of golden folders in Keras's format: files, their outputs, and those of their layers.

#include <fmt/format.h>

#include <charconv>
#include <map>

#include "grouphead/files/saved_model.h"
#include "grouphead/files/weights.h"
#include "testing/keras_case.h"

namespace grouphead::testing {
namespace {

constexpr std::string_view kLayer = "expect.layer.";

std::vector<std::string> weight_names(const KerasCase& each) {
  std::vector<std::string> names;
  for (const ConfigValue& weight : each["weights"].as_list("weights")) {
    names.push_back("weight." + weight["path"].as_string("path"));
  }
  return names;
}

/// Both files of a case have the same weights: in a model that lost its own they come back.
void check_weights(KerasCase& each, Model& model) {
  const std::vector<std::string> names = weight_names(each);
  each.compare_parameters(model.parameters(), names);
  if (each["weights_file"].is_null()) return;
  for (const auto& [path, parameter] : model.parameters()) fill_zero(parameter->edit());
  load_weights(model, each.folder() / each["weights_file"].as_string("weights_file"));
  each.compare_parameters(model.parameters(), names);
}

void compare_output(KerasCase& each, const std::string& name, const Tensor& output) {
  each.compare(name, output);
  if (each.expects(name) && output.dtype() != each.tensor(name).dtype()) {
    each.fail(name, fmt::format("expected {}, got {}", name_of(each.tensor(name).dtype()),
                                name_of(output.dtype())));
  }
}

/// What the layer `<name>` makes, or of several outputs `<name>.<number>`.
Symbol output_of(const Model& model, const std::string& name) {
  const std::size_t dot = name.rfind('.');
  std::size_t output = 0;
  const bool has_number =
      dot != std::string::npos &&
      std::from_chars(name.data() + dot + 1, name.data() + name.size(), output).ptr ==
          name.data() + name.size();
  return model.outputs_of(has_number ? name.substr(0, dot) : name)[output];
}

/// Runs the model together with what its layers make on the way.
void run(KerasCase& each, const Model& model) {
  std::vector<std::string> names;
  std::vector<Symbol> symbols;
  for (const Symbol& output : model.outputs()) {
    names.push_back(names.empty() ? "expect.output"
                                  : fmt::format("expect.output.{}", names.size()));
    symbols.push_back(output);
  }
  for (const std::string& expected : each.expected()) {
    if (!expected.starts_with(kLayer)) continue;
    names.push_back(expected);
    symbols.push_back(output_of(model, expected.substr(kLayer.size())));
  }
  std::map<std::string, Tensor> inputs;
  for (const auto& [input, tensor] : each["call"]["inputs"].as_object("call.inputs")) {
    inputs[input] = each.tensor(tensor.as_string("call.inputs"));
  }
  const Model wide({.inputs = model.inputs(), .outputs = symbols});
  const std::vector<Tensor> outputs = wide(each.ctx(), inputs);
  for (std::size_t i = 0; i < names.size(); ++i) compare_output(each, names[i], outputs[i]);
}

}  // namespace

void run_model_case(KerasCase& each) {
  require_known_fields(each["call"], "call", {"inputs", "training"});
  if (each["call"]["training"].as_bool("call.training")) {
    throw IoError("[golden] call.training: expected false, got true");
  }
  const std::shared_ptr<Model> model =
      load_model(each.folder() / each["keras_file"].as_string("keras_file"));
  check_weights(each, *model);
  run(each, *model);
}

}  // namespace grouphead::testing
