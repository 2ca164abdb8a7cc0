#include "graph/defined_layer.h"

#include <algorithm>

#include "core/check.h"
#include "core/comma_list.h"
#include "graph/names.h"
#include "nn/config_reader.h"
#include "nn/layer_checks.h"
#include "nn/own_classes.h"

namespace grouphead::graph {
namespace {

constexpr std::string_view kModels[] = {"Functional", "Model", "Sequential"};

std::string keys_of(const ConfigValue& config) {
  std::vector<std::string> keys;
  if (config.is_object()) {
    for (const auto& [key, value] : config.as_object("config")) keys.push_back(key);
  }
  return core::comma_list(keys);
}

/// The model's configuration with the layer's options in the places of "$option".
ConfigValue filled(const std::string& layer, const ConfigValue& value, const ConfigValue& options) {
  if (value.is_list()) {
    ConfigValue::List list;
    for (const ConfigValue& one : value.as_list(layer)) {
      list.push_back(filled(layer, one, options));
    }
    return list;
  }
  if (value.is_object()) {
    ConfigValue::Object object;
    for (const auto& [key, one] : value.as_object(layer)) {
      object.emplace_back(key, filled(layer, one, options));
    }
    return object;
  }
  if (!value.is_string() || !value.as_string(layer).starts_with('$')) return value;
  const std::string option = value.as_string(layer).substr(1);
  if (options.is_object() && options.contains(option)) return options[option];
  core::throw_config_error(layer, "$" + option, "an option of the layer: " + keys_of(options),
                           "none");
}

DtypePolicy policy_of(const LayerDefinition& definition, const ConfigValue& config) {
  return nn::ConfigReader(definition.name, config).dtype();
}

std::string name_of(const LayerDefinition& definition, const ConfigValue& config) {
  const std::string_view name = definition.name;
  return nn::ConfigReader(name, config).name(default_name(name.substr(name.find('>') + 1)));
}

}  // namespace

LayerDefinition layer_definition(const std::string& name, const ConfigValue& definition) {
  LayerDefinition made{.name = name};
  nn::ConfigReader reader(name, definition);
  made.model = reader.value("model");
  const bool is_model =
      made.model.is_object() && made.model["class_name"].is_string() &&
      std::find(std::begin(kModels), std::end(kModels),
                made.model["class_name"].as_string("class_name")) != std::end(kModels);
  if (!is_model) {
    core::throw_config_error(
        name, "model", "what to_json() of a functional or sequential model gives",
        made.model.is_object() ? made.model["class_name"].to_string() : made.model.to_string());
  }
  if (const ConfigValue& inputs = reader.value("inputs"); !inputs.is_null()) {
    for (const ConfigValue& one : inputs.as_list("inputs")) {
      made.inputs.push_back(one.as_string("inputs"));
    }
  }
  if (const ConfigValue& attributes = reader.value("attributes"); !attributes.is_null()) {
    for (const auto& [layer, attribute] : attributes.as_object("attributes")) {
      made.attributes.emplace_back(layer, attribute.as_string("attributes"));
    }
  }
  reader.finish();
  return made;
}

DefinedLayer::DefinedLayer(std::shared_ptr<const LayerDefinition> definition,
                           const ConfigValue& config)
    : Layer(name_of(*definition, config), policy_of(*definition, config)),
      definition_(std::move(definition)),
      input_names_(definition_->inputs.begin(), definition_->inputs.end()),
      config_(config) {
  model_ = model_from_config(filled(definition_->name, definition_->model, config));
  if (!model_->has_graph()) {
    core::throw_config_error(definition_->name, "model", "one with an input layer",
                             "one that is not built");
  }
  if (model_->dtype() != dtype()) {
    core::throw_config_error(definition_->name, "dtype", "the type of the model's layers",
                             policy().name());
  }
  if (!input_names_.empty() && input_names_.size() != model_->inputs().size()) {
    core::throw_config_error(definition_->name, "inputs",
                             std::to_string(model_->inputs().size()) + " names or none",
                             std::to_string(input_names_.size()));
  }
  for (const auto& [layer, attribute] : definition_->attributes) model_->get_layer(layer);
  set_built();
  if (!nn::ConfigReader(definition_->name, config).trainable()) set_trainable(false);
}

std::string_view DefinedLayer::class_name() const {
  const std::string_view name = definition_->name;
  return name.substr(name.find('>') + 1);
}

std::string_view DefinedLayer::module() const {
  const std::string_view name = definition_->name;
  return name.substr(0, name.find('>'));
}

ConfigValue DefinedLayer::get_config() const {
  ConfigValue config = config_;
  if (config.is_null()) config = ConfigValue::Object{};
  config.set("name", name());
  config.set("trainable", trainable());
  return config;
}

std::span<const std::string_view> DefinedLayer::input_names() const {
  return input_names_.empty() ? Layer::input_names() : input_names_;
}

std::vector<Shape> DefinedLayer::output_shapes(std::span<const Shape> inputs,
                                               const CallArguments* /*arguments*/) const {
  return model_->output_shapes(inputs, nullptr);
}

Dtype DefinedLayer::output_dtype(std::span<const Dtype> inputs,
                                 const CallArguments* /*arguments*/) const {
  return model_->output_dtype(inputs, nullptr);
}

void DefinedLayer::create_parameters(std::span<const Shape> inputs, RandomStream& /*random*/) {
  nn::require_count(name(), "number of inputs", inputs.size(), model_->inputs().size(),
                    model_->inputs().size());
}

std::vector<Value> DefinedLayer::forward(Context& ctx, std::span<const Value> in, const Mode& mode,
                                         std::unique_ptr<Saved>* saved) const {
  nn::require_count(name(), "number of inputs", in.size(), model_->inputs().size(),
                    model_->inputs().size());
  return model_->run(ctx, in, mode, mode.training, saved);
}

void DefinedLayer::backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out,
                            std::span<View> d_in, Grads& grads) const {
  model_->backward(ctx, saved, d_out, d_in, grads);
}

void DefinedLayer::append_parameters(const std::string& prefix, ParameterList& out) {
  for (const SubLayer& part : sub_layers()) {
    part.layer->append_parameters(prefix + part.layer->name() + "/", out);
  }
}

// In the order of the attributes, then the others as the graph has them.
std::vector<SubLayer> DefinedLayer::sub_layers() const {
  std::vector<SubLayer> parts;
  for (const auto& [layer, attribute] : definition_->attributes) {
    parts.push_back({attribute, model_->get_layer(layer)});
  }
  for (const std::shared_ptr<Layer>& layer : model_->layers()) {
    const bool is_listed = std::any_of(parts.begin(), parts.end(),
                                       [&](const SubLayer& part) { return part.layer == layer; });
    if (!is_listed && layer->class_name() != "InputLayer") parts.push_back({layer->name(), layer});
  }
  return parts;
}

}  // namespace grouphead::graph
