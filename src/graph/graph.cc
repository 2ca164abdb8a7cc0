#include "graph/graph.h"

#include <algorithm>
#include <set>

#include "core/check.h"
#include "graph/input_layer.h"
#include "graph/names.h"
#include "nn/error_path.h"

namespace grouphead::graph {

Graph::Graph(std::string_view model, std::vector<Symbol> inputs, std::vector<Symbol> outputs)
    : inputs_(std::move(inputs)), outputs_(std::move(outputs)) {
  if (inputs_.empty()) core::throw_config_error(model, "inputs", "1 or more", "none");
  if (outputs_.empty()) core::throw_config_error(model, "outputs", "1 or more", "none");
  for (const auto* list : {&inputs_, &outputs_}) {
    for (const Symbol& symbol : *list) {
      if (!symbol.has_value())
        core::throw_config_error(model, "inputs and outputs", "symbols", "none");
    }
  }
  replace_inner_inputs(model);
  const Walk walk = walk_graph(model, inputs_, outputs_, stand_ins_);
  layers_ = walk.layers;
  has_branches_ = walk.has_branches;
  for (const Symbol& input : inputs_) places_[key_of(input)] = num_places_++;
  for (const auto& [inner, input] : stand_ins_) places_[inner] = places_.at(key_of(input));
  for (const auto& node : walk.nodes) {
    if (input_layer_of(Symbol(node, 0)) == nullptr) make_step(node);
  }
  for (const Symbol& output : outputs_) output_places_.push_back(places_.at(key_of(output)));
  find_last_uses();
  settle_names(model);
}

// A model may start at symbols inside another one: inputs of its own stand in for them.
void Graph::replace_inner_inputs(std::string_view model) {
  std::set<SymbolKey> given;
  for (Symbol& symbol : inputs_) {
    if (!given.insert(key_of(symbol)).second) {
      core::throw_config_error(model, "inputs", "each once", "'" + symbol.name() + "' twice");
    }
    if (input_layer_of(symbol) != nullptr) continue;
    const Shape& shape = symbol.shape();
    if (shape.rank() < 1)
      core::throw_config_error(model, "inputs", "a batch axis", shape.to_string());
    const Symbol own = input({.shape = {shape.begin() + 1, shape.end()},
                              .batch_size = shape[0],
                              .dtype = symbol.dtype()});
    stand_ins_.emplace(key_of(symbol), own);
    symbol = own;
  }
}

std::vector<Place> Graph::places_of(const std::vector<Operand>& operands) {
  std::vector<Place> places;
  for (const Operand& operand : operands) {
    if (operand.symbol() != nullptr) {
      places.push_back(places_.at(key_of(*operand.symbol())));
    } else if (operand.constant() != nullptr) {
      constants_.push_back({num_places_, *operand.constant()});
      places.push_back(num_places_++);
    } else {
      places.push_back(kNoPlace);
    }
  }
  return places;
}

void Graph::make_step(const std::shared_ptr<const Node>& node) {
  Step step;
  step.node = node;
  step.model = dynamic_cast<const Model*>(node->layer.get());
  step.operands = places_of(node->operands);
  step.masks = places_of(node->masks);
  step.first_output = num_places_;
  for (std::size_t i = 0; i < node->shapes.size(); ++i) {
    places_[{node.get(), static_cast<int>(i)}] = num_places_++;
  }
  steps_.push_back(std::move(step));
}

void Graph::find_last_uses() {
  std::vector<bool> is_needed(static_cast<std::size_t>(num_places_), false);
  for (const Place place : output_places_) is_needed[static_cast<std::size_t>(place)] = true;
  // Constants stay: they belong to the graph.
  for (const GraphConstant& constant : constants_) {
    is_needed[static_cast<std::size_t>(constant.place)] = true;
  }
  for (auto step = steps_.rbegin(); step != steps_.rend(); ++step) {
    const auto use = [&](Place place) {
      if (place == kNoPlace || is_needed[static_cast<std::size_t>(place)]) return;
      is_needed[static_cast<std::size_t>(place)] = true;
      step->last_uses.push_back(place);
    };
    for (std::size_t i = 0; i < step->num_outputs(); ++i) {
      use(step->first_output + static_cast<Place>(i));
    }
    for (const Place place : step->operands) use(place);
    for (const Place place : step->masks) use(place);
  }
}

void Graph::settle_names(std::string_view model) {
  std::map<Layer*, std::uint64_t> first_calls;
  const auto add = [&](const Node& node) {
    std::uint64_t& first = first_calls.try_emplace(node.layer.get(), node.order).first->second;
    first = std::min(first, node.order);
  };
  for (const Symbol& symbol : inputs_) add(*symbol.node());
  for (const Step& step : steps_) add(*step.node);
  std::vector<Layer*> layers;
  for (const auto& [layer, first] : first_calls) layers.push_back(layer);
  std::sort(layers.begin(), layers.end(),
            [&](Layer* a, Layer* b) { return first_calls[a] < first_calls[b]; });
  name_layers(model, layers);
  for (const Symbol& symbol : inputs_) input_name_texts_.push_back(symbol.name());
  input_names_.assign(input_name_texts_.begin(), input_name_texts_.end());
}

std::vector<const Step*> Graph::calls_of(const Layer& layer) const {
  std::vector<const Step*> calls;
  for (const Step& step : steps_) {
    if (&step.layer() == &layer) calls.push_back(&step);
  }
  std::sort(calls.begin(), calls.end(),
            [](const Step* a, const Step* b) { return a->node->order < b->node->order; });
  return calls;
}

Symbol Graph::symbol_at(Place place) const {
  if (place < static_cast<Place>(inputs_.size())) return inputs_[static_cast<std::size_t>(place)];
  for (const Step& step : steps_) {
    const Place output = place - step.first_output;
    if (output >= 0 && output < static_cast<Place>(step.num_outputs())) {
      return Symbol(step.node, output);
    }
  }
  return {};
}

Index Graph::call_index(const Symbol& symbol) const {
  Index index = 0;
  for (const Step* call : calls_of(*symbol.node()->layer)) {
    if (call->node == symbol.node()) return index;
    ++index;
  }
  return 0;
}

std::vector<Shape> Graph::output_shapes(std::span<const Shape> inputs) const {
  KnownShapes known;
  return output_shapes(inputs, known);
}

std::vector<Shape> Graph::output_shapes(std::span<const Shape> inputs, KnownShapes& known) const {
  std::string text;
  for (const Shape& shape : inputs) text += shape.to_string();
  const auto key = std::pair(this, text);
  if (const auto found = known.find(key); found != known.end()) return found->second;
  std::vector<Shape> made = computed_shapes(inputs, known);
  known.emplace(key, made);
  return made;
}

std::vector<Shape> Graph::computed_shapes(std::span<const Shape> inputs, KnownShapes& known) const {
  std::vector<Shape> shapes(static_cast<std::size_t>(num_places_));
  std::copy_n(inputs.begin(), std::min(inputs.size(), inputs_.size()), shapes.begin());
  for (const GraphConstant& constant : constants_) {
    shapes[static_cast<std::size_t>(constant.place)] = constant.tensor.shape();
  }
  for (const Step& step : steps_) {
    std::vector<Shape> operands;
    for (const Place place : step.operands) {
      operands.push_back(place == kNoPlace ? Shape() : shapes[static_cast<std::size_t>(place)]);
    }
    const auto made = step.model != nullptr && step.model->has_graph()
                          ? graph_of(*step.model).output_shapes(operands, known)
                          : step.layer().output_shapes(operands, step.node->arguments.get());
    std::copy(made.begin(), made.end(), shapes.begin() + step.first_output);
  }
  std::vector<Shape> outputs;
  for (const Place place : output_places_) {
    outputs.push_back(shapes[static_cast<std::size_t>(place)]);
  }
  return outputs;
}

void Graph::build(RandomStream& random) {
  for (const auto& layer : layers_) {
    const std::vector<const Step*> calls = calls_of(*layer);
    if (calls.empty() || layer->is_built()) continue;
    nn::in_layer(layer->name(),
                 [&] { layer->build(operand_shapes(*calls.front()->node), random); });
  }
  for (Step& step : steps_) {
    step.parameters.clear();
    for (const auto& [path, parameter] : step.layer().parameters()) {
      step.parameters.push_back(parameter);
    }
  }
}

void append_parameters_of(const std::vector<std::shared_ptr<Layer>>& layers,
                          const std::string& prefix, ParameterList& out) {
  std::set<const Parameter*> listed;
  for (const NamedParameter& entry : out) listed.insert(entry.parameter);
  for (const auto& layer : layers) {
    ParameterList own;
    layer->append_parameters(prefix + layer->name() + "/", own);
    for (NamedParameter& entry : own) {
      if (listed.insert(entry.parameter).second) out.push_back(std::move(entry));
    }
  }
}

}  // namespace grouphead::graph
