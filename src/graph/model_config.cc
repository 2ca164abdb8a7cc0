#include <algorithm>

#include "core/check.h"
#include "graph/call_config.h"
#include "graph/composite.h"
#include "graph/input_layer.h"
#include "graph/package_models.h"
#include "grouphead/layers/serialization.h"
#include "grouphead/models/model.h"

namespace grouphead {
namespace {

using graph::Graph;

// Keras names the class of models in a place of its own too, and knows no policy of an operation:
// model_from_config() sees it by the operands.
ConfigValue envelope_of(const Layer& layer) {
  ConfigValue envelope = layer_to_config(layer);
  if (graph::is_operation(layer)) {
    ConfigValue::Object config = envelope["config"].as_object("config");
    std::erase_if(config, [](const auto& entry) { return entry.first == "dtype_policy"; });
    envelope.set("config", std::move(config));
  }
  if (layer.class_name() == "Functional") envelope.set("registered_name", "Functional");
  return envelope;
}

// [layer, call, output]. As the end of a model, and only there, Keras counts the calls of a
// functional model from 1.
ConfigValue end_config(const Graph& graph, graph::Place place) {
  const Symbol symbol = graph.symbol_at(place);
  const Index first = graph::counts_calls_from_1(*symbol.node()->layer) ? 1 : 0;
  return ConfigValue::List{symbol.name(), first + graph.call_index(symbol), Index{symbol.output()}};
}

// The histories of inputs or outputs: one alone, a list, or an object where they have keys.
ConfigValue ends_config(const Graph& graph, const std::vector<graph::Place>& places,
                        const std::vector<std::string>& keys) {
  ConfigValue::List histories;
  for (const graph::Place place : places) histories.push_back(end_config(graph, place));
  if (!keys.empty()) {
    ConfigValue::Object by_key;
    for (std::size_t i = 0; i < keys.size(); ++i) by_key.emplace_back(keys[i], histories[i]);
    return by_key;
  }
  return histories.size() == 1 ? histories.front() : ConfigValue(histories);
}

// Gives a layer that another one holds too a number in both, by which Keras knows that it is one.
void number_shared_layers(const Graph& graph, ConfigValue::List& entries) {
  const auto& layers = graph.layers();
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const auto* composite = dynamic_cast<const graph::Composite*>(layers[i].get());
    if (composite == nullptr || composite->shared_layer() == nullptr) continue;
    const auto found = std::find(layers.begin(), layers.end(), composite->shared_layer());
    if (found == layers.end()) continue;
    const Index number = 1 + (found - layers.begin());
    ConfigValue config = entries[i]["config"];
    ConfigValue inner = config[composite->shared_key()];
    inner.set("shared_object_id", number);
    config.set(composite->shared_key(), std::move(inner));
    entries[i].set("config", std::move(config));
    entries[static_cast<std::size_t>(number - 1)].set("shared_object_id", number);
  }
}

}  // namespace

ConfigValue Model::get_config() const {
  ConfigValue::List entries;
  for (const auto& layer : graph().layers()) {
    ConfigValue::List calls;
    for (const graph::Step* call : graph().calls_of(*layer)) {
      calls.push_back(graph::call_to_config(graph(), *call));
    }
    ConfigValue entry = envelope_of(*layer);
    entry.set("name", layer->name());
    entry.set("inbound_nodes", std::move(calls));
    entries.push_back(std::move(entry));
  }
  number_shared_layers(graph(), entries);
  std::vector<graph::Place> input_places;
  for (std::size_t i = 0; i < graph().inputs().size(); ++i) {
    input_places.push_back(static_cast<graph::Place>(i));
  }
  ConfigValue config;
  config.set("name", name());
  config.set("trainable", trainable());
  config.set("layers", std::move(entries));
  config.set("input_layers", ends_config(graph(), input_places, input_keys_));
  config.set("output_layers", ends_config(graph(), graph().output_places(), output_keys_));
  return config;
}

ConfigValue Sequential::get_config() const {
  ConfigValue config = Layer::get_config();
  ConfigValue::List entries;
  if (input_.has_value()) entries.push_back(envelope_of(*input_.node()->layer));
  for (const auto& layer : layers_) entries.push_back(envelope_of(*layer));
  config.set("layers", std::move(entries));
  if (has_graph()) config.set("build_input_shape", ConfigValue(input_.shape()));
  return config;
}

ConfigValue model_to_config(const Model& model) {
  ConfigValue envelope = envelope_of(model);
  ConfigValue build;
  const bool is_sequential = model.class_name() == "Sequential";
  const bool has_shape = is_sequential && model.has_graph();
  build.set("input_shape", has_shape ? ConfigValue(model.inputs()[0].shape()) : ConfigValue());
  if (!is_sequential || has_shape) envelope.set("build_config", std::move(build));
  return envelope;
}

}  // namespace grouphead
