#include "graph/call_config.h"

#include <algorithm>

#include "core/check.h"
#include "core/dtype_names.h"
#include "graph/input_layer.h"
#include "nn/constant_config.h"

namespace grouphead::graph {
namespace {

constexpr std::string_view kMergingLayers[] = {"Add",     "Average", "Concatenate", "Dot",
                                               "Maximum", "Minimum", "Multiply",    "Subtract"};
constexpr std::string_view kListAttention[] = {"AdditiveAttention", "Attention"};
constexpr std::string_view kListOperations[] = {"Concatenate", "Dstack", "Hstack", "Stack",
                                                "Vstack"};
constexpr std::string_view kMaskSuffix = "_mask";
// A list in Keras's calls of recurrent layers; the operands are this, `initial_state_1`, ...
constexpr std::string_view kStates = "initial_state";

bool is_one_of(std::span<const std::string_view> names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

bool is_state(std::string_view name) { return name.starts_with(kStates); }

bool is_mask(std::string_view name) { return name == "mask" || name.ends_with(kMaskSuffix); }

ConfigValue tensor_to_config(const Graph& graph, Place place) {
  if (place == kNoPlace) return nullptr;
  for (const GraphConstant& constant : graph.constants()) {
    if (constant.place == place) return nn::constant_to_config(constant.tensor);
  }
  const Symbol symbol = graph.symbol_at(place);
  ConfigValue config;
  config.set("shape", ConfigValue(symbol.shape()));
  config.set("dtype", core::keras_name(symbol.dtype()));
  config.set("keras_history", history_of(graph, place));
  ConfigValue envelope;
  envelope.set("class_name", "__keras_tensor__");
  envelope.set("config", config);
  return envelope;
}

// Keras asks for these operands when it makes a model from its file, null or not.
constexpr std::string_view kAllOperands[] = {"BatchNorm", "LayerNorm", "RMSNorm"};

// An operation's call: tensors where the arguments have null.
ConfigValue operation_call(const Graph& graph, const Step& step) {
  ConfigValue keywords = step.layer().arguments_config(step.node->arguments.get());
  ConfigValue::List args;
  if (keywords.contains("args")) args = keywords["args"].as_list("args");
  args.resize(std::max(args.size(), step.operands.size()));
  if (is_one_of(kAllOperands, step.layer().class_name())) {
    args.resize(std::max(args.size(), step.layer().input_names().size()));
  }
  for (std::size_t i = 0; i < step.operands.size(); ++i) {
    if (step.operands[i] != kNoPlace) args[i] = tensor_to_config(graph, step.operands[i]);
  }
  ConfigValue::Object others;
  for (const auto& [key, value] : keywords.as_object("keywords")) {
    if (key != "args") others.emplace_back(key, value);
  }
  if (takes_list(step.layer())) args = ConfigValue::List{ConfigValue(std::move(args))};
  return ConfigValue::Object{{"args", args}, {"kwargs", others}};
}

struct Arguments {
  ConfigValue::List args;
  ConfigValue::Object kwargs;
  ConfigValue::List mask_list;  // of the layers that take lists
  ConfigValue::List states;     // of recurrent layers
};

void add_operand(const Graph& graph, const Step& step, std::size_t i, Arguments& call) {
  const auto names = step.layer().input_names();
  ConfigValue value = tensor_to_config(graph, step.operands[i]);
  // A model's inputs are tensors whatever their names are.
  const auto first_mask =
      step.model != nullptr ? names.end() : std::find_if(names.begin(), names.end(), is_mask);
  if (step.model == nullptr && i < names.size() && is_state(names[i])) {
    call.states.push_back(std::move(value));
  } else if (i >= names.size() || static_cast<std::ptrdiff_t>(i) < first_mask - names.begin()) {
    call.args.push_back(std::move(value));
  } else if (takes_list(step.layer()) && is_mask(names[i])) {
    call.mask_list.push_back(std::move(value));
  } else if (!value.is_null()) {
    call.kwargs.emplace_back(std::string(names[i]), std::move(value));
  }
}

}  // namespace

bool takes_list(const Layer& layer) {
  if (is_operation(layer)) return is_one_of(kListOperations, layer.class_name());
  return is_one_of(kMergingLayers, layer.class_name()) ||
         is_one_of(kListAttention, layer.class_name());
}

ConfigValue history_of(const Graph& graph, Place place) {
  const Symbol symbol = graph.symbol_at(place);
  return ConfigValue::List{symbol.name(), graph.call_index(symbol), Index{symbol.output()}};
}

ConfigValue call_to_config(const Graph& graph, const Step& step) {
  const Layer& layer = step.layer();
  if (is_operation(layer)) return operation_call(graph, step);
  Arguments call;
  for (std::size_t i = 0; i < step.operands.size(); ++i) add_operand(graph, step, i, call);
  while (!call.args.empty() && call.args.back().is_null()) call.args.pop_back();
  if (!call.states.empty()) call.kwargs.emplace_back(std::string(kStates), call.states);
  if (step.model != nullptr && !step.model->input_keys().empty()) {
    const std::vector<std::string>& keys = step.model->input_keys();
    ConfigValue::Object dict;
    for (std::size_t i = 0; i < keys.size(); ++i) {
      dict.emplace_back(keys[i], i < call.args.size() ? std::move(call.args[i]) : ConfigValue());
    }
    call.args = ConfigValue::List{ConfigValue(std::move(dict))};
  }
  // A model's inputs are one argument, a layer's have names.
  const std::size_t num_names = step.model != nullptr ? 1 : layer.input_names().size();
  const bool is_list = takes_list(layer) || call.args.size() > std::max<std::size_t>(1, num_names);
  if (is_list) call.args = ConfigValue::List{ConfigValue(std::move(call.args))};
  // Masks given for operands of a layer that has no names for them.
  for (std::size_t i = 0; i < step.masks.size(); ++i) {
    if (is_list) {
      call.mask_list.push_back(tensor_to_config(graph, step.masks[i]));
    } else if (step.masks[i] != kNoPlace) {
      const std::string key =
          i == 0 ? "mask" : std::string(layer.input_names()[i]) + std::string(kMaskSuffix);
      call.kwargs.emplace_back(key, tensor_to_config(graph, step.masks[i]));
    }
  }
  if (!call.mask_list.empty()) call.kwargs.emplace_back("mask", call.mask_list);
  const ConfigValue keywords = layer.arguments_config(step.node->arguments.get());
  for (const auto& entry : keywords.as_object("keywords")) call.kwargs.push_back(entry);
  if (step.node->training) call.kwargs.emplace_back("training", *step.node->training);
  return ConfigValue::Object{{"args", call.args}, {"kwargs", call.kwargs}};
}

namespace {

bool is_tensor(const ConfigValue& value) {
  if (!value.is_object() || !value.contains("class_name")) return false;
  const ConfigValue& name = value["class_name"];
  return name == ConfigValue("__keras_tensor__") || name == ConfigValue("__numpy__") ||
         name == ConfigValue("__tensor__");
}

/// A tensor, or a Python list that Keras makes one of.
bool is_operand(const ConfigValue& value) { return is_tensor(value) || nn::is_nested_list(value); }

Operand operand_from(const ConfigValue& value, const FindSymbol& find) {
  if (value.is_list()) return nn::constant_from_list(value);
  if (value["class_name"] == ConfigValue("__keras_tensor__")) {
    return find(value["config"]["keras_history"]);
  }
  return nn::constant_from_config(value["config"]);
}

// [["layer", 0, 0, {keywords}], ...] of files before Keras 3.
ConfigValue modern_call(const ConfigValue& call) {
  if (!call.is_list()) return call;
  ConfigValue::List tensors;
  ConfigValue kwargs = ConfigValue::Object{};
  for (const ConfigValue& entry : call.as_list("inbound_nodes")) {
    const ConfigValue::List& parts = entry.as_list("inbound_nodes");
    if (parts.size() < 3) {
      core::throw_config_error("config", "inbound_nodes", "[layer, call, output]",
                               entry.to_string());
    }
    const ConfigValue::List history(parts.begin(), parts.begin() + 3);
    ConfigValue tensor;
    tensor.set("class_name", "__keras_tensor__");
    tensor.set("config", ConfigValue::Object{{"keras_history", history}});
    tensors.push_back(std::move(tensor));
    if (parts.size() > 3) kwargs = parts[3];
  }
  const bool is_one = tensors.size() == 1;
  ConfigValue args = is_one ? ConfigValue(tensors) : ConfigValue(ConfigValue::List{tensors});
  return ConfigValue::Object{{"args", std::move(args)}, {"kwargs", std::move(kwargs)}};
}

bool has_states(const Layer& layer) {
  const auto names = layer.input_names();
  return dynamic_cast<const Model*>(&layer) == nullptr && names.size() > 2 && is_state(names[2]);
}

class CallReader {
 public:
  CallReader(const Layer& layer, const FindSymbol& find) : layer_(layer), find_(find) {}

  void read_positional(const ConfigValue& value) {
    // Behind the sequences Keras's calls have states, and then the mask.
    if (operands_.size() == 1 && has_states(layer_)) operands_.emplace_back();
    const bool is_one = !takes_list(layer_) && nn::is_nested_list(value);
    if (is_one && !is_operation(layer_)) {
      operands_.push_back(operand_from(value, find_));
      return;
    }
    if (value.is_list() && (!is_operation(layer_) || takes_list(layer_))) return read_list(value);
    if (const auto* model = model_of_dict(value)) return read_dict(*model, value);
    if (takes_list(layer_) && !is_operation(layer_) && !operands_.empty() && !value.is_null()) {
      core::throw_config_error(layer_.name(), "call", "one list of tensors",
                               "too many positional arguments");
    }
    literals_.push_back(is_tensor(value) ? ConfigValue() : value);
    if (is_tensor(value)) {
      operands_.push_back(operand_from(value, find_));
    } else if (value.is_null() || is_operation(layer_)) {
      operands_.emplace_back();
    } else {
      core::throw_config_error(layer_.name(), "call", "tensors as positional arguments",
                               value.to_string());
    }
  }

  void read_keyword(const std::string& key, const ConfigValue& value) {
    if (is_tensor(value)) {
      keywords_.add({key, operand_from(value, find_)});
    } else if (key == kStates && value.is_list()) {
      read_states(value);
    } else if (!is_operation(layer_) && !takes_list(layer_) && nn::is_nested_list(value)) {
      keywords_.add({key, operand_from(value, find_)});
    } else if (key == "mask" && value.is_list()) {
      read_mask_list(value);
    } else if (const auto* model = key == "mask" ? model_of_dict(value) : nullptr) {
      for (const auto& [input, mask] : value.as_object("mask")) {
        add_mask(model->input_place(input), mask);
      }
    } else if (key == "inputs" && value.is_list()) {
      read_list(value);
    } else if (value.is_null()) {
      // None is what the argument is anyway.
    } else {
      keywords_.add({key, value});
    }
  }

  Outputs connect_to(const std::shared_ptr<Layer>& layer) {
    if (is_operation(layer_)) keywords_.add({"args", ConfigValue(literals_)});
    return connect(layer, operands_, keywords_);
  }

 private:
  void read_list(const ConfigValue& list) {
    for (const ConfigValue& value : list.as_list("args")) {
      if (operands_.size() == 1 && has_states(layer_)) operands_.emplace_back();
      if (!is_operand(value)) {
        core::throw_config_error(layer_.name(), "call", "tensors in a list", value.to_string());
      }
      operands_.push_back(operand_from(value, find_));
      literals_.emplace_back();
    }
  }

  // A list of tensors, or of a list for each cell.
  void read_states(const ConfigValue& list) {
    for (const ConfigValue& value : list.as_list(kStates)) {
      if (value.is_list()) {
        read_states(value);
        continue;
      }
      if (!is_tensor(value)) {
        core::throw_config_error(layer_.name(), kStates, "tensors in a list", value.to_string());
      }
      std::string name(kStates);
      if (num_states_ > 0) name.append("_").append(std::to_string(num_states_));
      keywords_.add({std::move(name), operand_from(value, find_)});
      ++num_states_;
    }
  }

  /// The layer where it is a model that is given a dict of inputs.
  const Model* model_of_dict(const ConfigValue& value) const {
    const bool is_dict = value.is_object() && !value.contains("class_name");
    return is_dict ? dynamic_cast<const Model*>(&layer_) : nullptr;
  }

  void read_dict(const Model& model, const ConfigValue& dict) {
    for (const auto& [key, value] : dict.as_object("args")) {
      const std::size_t place = model.input_place(key);
      if (!is_tensor(value)) {
        core::throw_config_error(layer_.name(), "call", "tensors in a dict", value.to_string());
      }
      operands_.resize(std::max(operands_.size(), place + 1));
      operands_[place] = operand_from(value, find_);
    }
  }

  // [query_mask, value_mask], as far as they are given.
  void read_mask_list(const ConfigValue& list) {
    const ConfigValue::List& masks = list.as_list("mask");
    for (std::size_t i = 0; i < masks.size(); ++i) add_mask(i, masks[i]);
  }

  void add_mask(std::size_t place, const ConfigValue& mask) {
    if (mask.is_null()) return;
    const auto names = layer_.input_names();
    const std::string name = place < names.size() ? std::string(names[place]) : "";
    keywords_.add({name + std::string(kMaskSuffix), operand_from(mask, find_)});
  }

  const Layer& layer_;
  const FindSymbol& find_;
  std::vector<Operand> operands_;
  ConfigValue::List literals_;  // null where a tensor stands
  Keywords keywords_;
  int num_states_ = 0;
};

}  // namespace

Outputs connect_from_config(const std::shared_ptr<Layer>& layer, const ConfigValue& call,
                            const FindSymbol& find) {
  const ConfigValue modern = modern_call(call);
  CallReader reader(*layer, find);
  if (modern.contains("args")) {
    for (const ConfigValue& value : modern["args"].as_list("args")) reader.read_positional(value);
  }
  if (modern.contains("kwargs")) {
    for (const auto& [key, value] : modern["kwargs"].as_object("kwargs")) {
      reader.read_keyword(key, value);
    }
  }
  return reader.connect_to(layer);
}

}  // namespace grouphead::graph
