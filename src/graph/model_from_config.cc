// Models from Keras's configurations.

#include <algorithm>
#include <map>

#include "core/check.h"
#include "graph/call_config.h"
#include "graph/composite.h"
#include "graph/input_layer.h"
#include "graph/package_models.h"
#include "grouphead/layers/serialization.h"
#include "grouphead/models/model.h"
#include "nn/config_reader.h"
#include "nn/own_classes.h"
#include "nn/registry.h"

namespace grouphead {
namespace {

using core::throw_config_error;

bool is_model(std::string_view class_name) {
  return class_name == "Functional" || class_name == "Model" || class_name == "Sequential";
}

std::string name_in(const ConfigValue& entry) {
  const ConfigValue& name = entry.contains("name") ? entry["name"] : entry["config"]["name"];
  return name.is_string() ? name.as_string("name") : "";
}

std::string what_to_write(const std::string& class_name, const std::string& registered) {
  return ": write register_layer<" + class_name + ">(\"" + registered +
         "\"), or a definition of \"" + registered + "\" in a file of classes";
}

// "'name' (Class) in model", for each layer that cannot be made.
void find_unsupported(const ConfigValue& model, const std::string& place,
                      std::vector<std::string>& found) {
  for (const ConfigValue& entry : model["config"]["layers"].as_list("layers")) {
    const std::string& class_name = entry["class_name"].as_string("class_name");
    const std::string name = name_in(entry);
    if (is_model(class_name)) {
      find_unsupported(entry, place + "/" + name, found);
    } else if (class_name != "InputLayer" && !graph::is_package_model(entry) && !has_layer(entry)) {
      const std::string own = nn::own_name_in(entry);
      found.push_back("'" + name + "' (" + class_name + ") in " + place +
                      (nn::is_own_name(own) ? what_to_write(class_name, own) : ""));
    }
  }
}

void require_supported(const ConfigValue& envelope) {
  std::vector<std::string> found;
  find_unsupported(envelope, name_in(envelope), found);
  if (found.empty()) return;
  std::string list;
  for (const std::string& one : found) list += (list.empty() ? "" : ", ") + one;
  throw_config_error("model_from_config", "layers", "layers that this library has", list);
}

std::shared_ptr<Model> make_model(const ConfigValue& envelope, std::uint64_t seed);

// Whether a tensor in f64 is among what the entry's calls name.
bool takes_f64(const ConfigValue& value) {
  if (value.is_list()) {
    const ConfigValue::List& list = value.as_list("inbound_nodes");
    return std::any_of(list.begin(), list.end(), takes_f64);
  }
  if (!value.is_object()) return false;
  if (value["class_name"] == ConfigValue("__keras_tensor__")) {
    return value["config"]["dtype"] == ConfigValue("float64");
  }
  return value.contains("args") && takes_f64(value["args"]);
}

// Gradients of an operation are in f64 where its operands are.
std::shared_ptr<Layer> make_layer_or_operation(const ConfigValue& entry) {
  const ConfigValue& module = entry["module"];
  const bool is_operation =
      module.is_string() && module.as_string("module").starts_with("keras.src.ops.");
  if (!is_operation || !takes_f64(entry["inbound_nodes"])) return layer_from_config(entry);
  ConfigValue config = entry["config"];
  config.set("dtype_policy", "float64");
  return make_operation(module.as_string("module"), entry["class_name"].as_string("class_name"),
                        config);
}

std::shared_ptr<Layer> make_entry(const ConfigValue& entry, std::uint64_t seed) {
  const std::string& class_name = entry["class_name"].as_string("class_name");
  if (is_model(class_name)) return make_model(entry, seed);
  if (graph::is_package_model(entry)) return graph::make_package_model(entry, seed);
  if (class_name == "InputLayer") {
    return graph::InputLayer::from_config(entry["config"]);
  }
  return make_layer_or_operation(entry);
}

// A call whose operands are not there yet.
struct NotYet {};

class FunctionalReader {
 public:
  FunctionalReader(std::string model, std::uint64_t seed) : model_(std::move(model)), seed_(seed) {}

  void add_layer(const ConfigValue& entry) {
    const std::string name = name_in(entry);
    if (layers_.contains(name)) {
      throw_config_error(model_, "layers", "one of each name", "two named '" + name + "'");
    }
    Made& made = layers_[name];
    made.layer = make_entry(entry, seed_);
    if (made.layer->name() != name) made.layer->rename(name);
    if (const ConfigValue& id = entry["shared_object_id"]; !id.is_null()) {
      shared_[id.to_string()] = made.layer;
    }
    share_inner_layer(entry["config"], *made.layer);
    if (auto input_layer = std::dynamic_pointer_cast<graph::InputLayer>(made.layer)) {
      made.calls.push_back(Outputs({graph::symbol_of(std::move(input_layer))}));
    } else {
      made.todo = entry["inbound_nodes"].as_list("inbound_nodes");
    }
    order_.push_back(name);
  }

  // A layer may be called at several depths, so calls wait until their operands are there.
  void connect_all() {
    for (bool has_rest = true; has_rest;) {
      has_rest = false;
      bool has_progress = false;
      for (const std::string& name : order_) {
        Made& made = layers_.at(name);
        while (made.num_connected < made.todo.size() && connect_next(made)) has_progress = true;
        has_rest = has_rest || made.num_connected < made.todo.size();
      }
      if (has_rest && !has_progress) throw_unconnected();
    }
  }

  /// The ends of the model: [layer, call, output], a list of these, or an object of these.
  std::vector<Symbol> ends(const ConfigValue& value, std::vector<std::string>& keys) {
    try {
      return found_ends(value, keys);
    } catch (const NotYet&) {
      throw_config_error(model_, "input_layers, output_layers", "calls that there are",
                         value.to_string());
    }
  }

 private:
  std::vector<Symbol> found_ends(const ConfigValue& value, std::vector<std::string>& keys) {
    if (value.is_object()) {
      std::map<std::string, Symbol> sorted;  // Keras passes tensors in the order of their keys
      for (const auto& [key, history] : value.as_object("layers")) {
        sorted[key] = found_end(history);
      }
      std::vector<Symbol> symbols;
      for (auto& [key, symbol] : sorted) {
        keys.push_back(key);
        symbols.push_back(std::move(symbol));
      }
      return symbols;
    }
    const ConfigValue::List& list = value.as_list("input_layers, output_layers");
    if (!list.empty() && list[0].is_string()) return {found(value, true)};
    std::vector<Symbol> symbols;
    for (const ConfigValue& history : list) symbols.push_back(found_end(history));
    return symbols;
  }

  Symbol found_end(const ConfigValue& history) const {
    const bool is_history = history.is_list() && !history.as_list("end").empty() &&
                            history.as_list("end").front().is_string();
    if (!is_history) {
      throw_config_error(model_, "inputs and outputs",
                         "a tensor, a list of tensors or a dict of tensors",
                         "lists or dicts inside each other");
    }
    return found(history, true);
  }

  struct Made {
    std::shared_ptr<Layer> layer;
    std::vector<Outputs> calls;
    ConfigValue::List todo;  // inbound nodes
    std::size_t num_connected = 0;
  };

  // Keras numbers objects that several others hold: a layer of the model inside another one.
  void share_inner_layer(const ConfigValue& config, Layer& layer) {
    auto* composite = dynamic_cast<graph::Composite*>(&layer);
    if (composite == nullptr || composite->shared_layer() == nullptr) return;
    const auto found =
        shared_.find(config[composite->shared_key()]["shared_object_id"].to_string());
    const bool fits = found != shared_.end() &&
                      found->second->class_name() == composite->shared_layer()->class_name();
    if (fits) composite->set_shared_layer(found->second);
  }

  // The symbol; NotYet where its call is still to be connected. As the end of a model, and only
  // there, Keras counts the calls of a functional model from 1.
  Symbol found(const ConfigValue& history, bool is_end = false) const {
    const ConfigValue::List& parts = history.as_list("keras_history");
    if (parts.size() != 3) {
      throw_config_error(model_, "keras_history", "[layer, call, output]", history.to_string());
    }
    const std::string& name = parts[0].as_string("layer");
    const auto made = layers_.find(name);
    if (made == layers_.end()) throw_config_error(model_, "keras_history", "a known layer", name);
    const bool is_functional = graph::counts_calls_from_1(*made->second.layer);
    const Index call = parts[1].as_integer("call") - (is_end && is_functional ? 1 : 0);
    const Index output = parts[2].as_integer("output");
    if (call >= static_cast<Index>(made->second.calls.size())) throw NotYet{};
    if (call < 0 || output < 0) {
      throw_config_error(model_, "keras_history", "numbers from 0", history.to_string());
    }
    const Outputs& outputs = made->second.calls[static_cast<std::size_t>(call)];
    if (output >= static_cast<Index>(outputs.size())) {
      throw_config_error(model_, "keras_history",
                         "one of " + std::to_string(outputs.size()) + " outputs",
                         history.to_string());
    }
    return outputs[static_cast<std::size_t>(output)];
  }

  bool connect_next(Made& made) {
    try {
      made.calls.push_back(graph::connect_from_config(
          made.layer, made.todo[made.num_connected],
          [this](const ConfigValue& history) { return found(history); }));
    } catch (const NotYet&) {
      return false;
    }
    ++made.num_connected;
    return true;
  }

  [[noreturn]] void throw_unconnected() const {
    std::string names;
    for (const std::string& name : order_) {
      const Made& made = layers_.at(name);
      if (made.num_connected == made.todo.size()) continue;
      names += (names.empty() ? "" : ", ") + name;
    }
    throw_config_error(model_, "layers", "calls on what other layers make",
                       "a loop or a missing layer at " + names);
  }

  std::string model_;
  std::uint64_t seed_;
  std::map<std::string, Made> layers_;
  std::vector<std::string> order_;                        // of the names, as in the file
  std::map<std::string, std::shared_ptr<Layer>> shared_;  // by the numbers of shared objects
};

std::shared_ptr<Model> make_functional(const ConfigValue& config, std::uint64_t seed) {
  nn::ConfigReader reader("Functional", config);
  ModelConfig made;
  made.name = reader.name(made.name);
  made.trainable = reader.trainable();
  made.seed = seed;
  FunctionalReader functional(made.name, seed);
  for (const ConfigValue& entry : reader.value("layers").as_list("layers")) {
    functional.add_layer(entry);
  }
  functional.connect_all();
  made.inputs = functional.ends(reader.value("input_layers"), made.input_keys);
  made.outputs = functional.ends(reader.value("output_layers"), made.output_keys);
  reader.finish();
  return std::make_shared<Model>(made);
}

std::shared_ptr<Model> make_sequential(const ConfigValue& config, std::uint64_t seed) {
  nn::ConfigReader reader("Sequential", config);
  const auto model =
      std::make_shared<Sequential>(SequentialConfig{.name = reader.name("sequential"),
                                                    .trainable = reader.trainable(),
                                                    .seed = seed,
                                                    .dtype = reader.dtype()});
  for (const ConfigValue& entry : reader.value("layers").as_list("layers")) {
    std::shared_ptr<Layer> layer = make_entry(entry, seed);
    if (auto input_layer = std::dynamic_pointer_cast<graph::InputLayer>(layer)) {
      model->add(graph::symbol_of(std::move(input_layer)));
    } else {
      model->add(std::move(layer));
    }
  }
  const ConfigValue& shape = reader.value("build_input_shape");
  if (!shape.is_null() && !model->has_graph()) {
    const Shape input_shape = shape.as_shape("build_input_shape");
    model->build({input_shape.begin(), input_shape.end()});
  }
  reader.finish();
  return model;
}

std::shared_ptr<Model> make_model(const ConfigValue& envelope, std::uint64_t seed) {
  const bool is_sequential = envelope["class_name"] == ConfigValue("Sequential");
  return is_sequential ? make_sequential(envelope["config"], seed)
                       : make_functional(envelope["config"], seed);
}

}  // namespace

std::shared_ptr<Model> model_from_config(const ConfigValue& envelope, std::uint64_t seed) {
  if (graph::is_package_model(envelope)) return graph::make_package_model(envelope, seed);
  const std::string& class_name = envelope["class_name"].as_string("class_name");
  if (!is_model(class_name)) {
    throw_config_error("model_from_config", "class_name",
                       "Functional, Sequential, or a model of KerasHub that this library has",
                       class_name);
  }
  require_supported(envelope);
  return make_model(envelope, seed);
}

std::shared_ptr<Layer> nn::make_functional(const ConfigValue& config) {
  return model_from_config(config_envelope("keras", "Functional", config));
}
std::shared_ptr<Layer> nn::make_sequential(const ConfigValue& config) {
  return model_from_config(config_envelope("keras", "Sequential", config));
}

}  // namespace grouphead
