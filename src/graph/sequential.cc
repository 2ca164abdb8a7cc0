#include <algorithm>

#include "core/check.h"
#include "graph/graph.h"
#include "graph/input_layer.h"
#include "graph/names.h"
#include "grouphead/layers/serialization.h"
#include "grouphead/models/model.h"
#include "nn/layer_checks.h"

namespace grouphead {

using core::throw_config_error;

Sequential::Sequential(const SequentialConfig& config)
    : Model(config.name, config.dtype), random_(config.seed) {
  if (!config.trainable) set_trainable(false);
}

Sequential& Sequential::add(const Symbol& symbol) {
  if (!symbol.has_value() || graph::input_layer_of(symbol) == nullptr) {
    throw_config_error(name(), "add", "a layer or an input", "a symbol that a layer makes");
  }
  if (input_.has_value() || !layers_.empty()) {
    throw_config_error(name(), "add", "an input as first layer, once", symbol.name());
  }
  input_ = symbol;
  return *this;
}

Sequential& Sequential::add(std::shared_ptr<Layer> layer) {
  // A model as first layer tells which inputs there will be.
  const auto* first = layers_.empty() ? dynamic_cast<const Model*>(layer.get()) : nullptr;
  if (!input_.has_value() && first != nullptr && first->has_graph() &&
      first->inputs().size() == 1) {
    const Shape& shape = first->inputs()[0].shape();
    input_ = input({.shape = {shape.begin() + 1, shape.end()},
                    .batch_size = shape[0],
                    .dtype = first->inputs()[0].dtype()});
  }
  layers_.push_back(std::move(layer));
  try {
    graph::name_layers(name(), distinct_layers());
    if (input_.has_value()) connect_layers(random_);
  } catch (...) {
    layers_.pop_back();
    throw;
  }
  return *this;
}

std::vector<Layer*> Sequential::distinct_layers() const {
  std::vector<Layer*> distinct;
  for (const auto& layer : layers_) {
    if (std::find(distinct.begin(), distinct.end(), layer.get()) == distinct.end()) {
      distinct.push_back(layer.get());
    }
  }
  return distinct;
}

void Sequential::connect_layers(RandomStream& random) {
  Symbol x = input_;
  for (const auto& layer : layers_) x = connect(layer, x);
  set_graph({input_}, {x}, random);
}

std::vector<Shape> Sequential::output_shapes(std::span<const Shape> inputs,
                                             const CallArguments* arguments) const {
  if (has_graph()) return Model::output_shapes(inputs, arguments);
  nn::require_count(name(), "number of inputs", inputs.size(), 1, 1);
  Shape shape = inputs[0];
  for (const auto& layer : layers_) {
    const std::vector<Shape> operands(graph::attends(*layer) ? 2 : 1, shape);
    shape = layer->output_shapes(operands, nullptr)[0];
  }
  return {shape};
}

Dtype Sequential::output_dtype(std::span<const Dtype> inputs,
                               const CallArguments* arguments) const {
  if (has_graph()) return Model::output_dtype(inputs, arguments);
  Dtype dtype = inputs[0];
  for (const auto& layer : layers_) dtype = layer->output_dtype(std::span(&dtype, 1), nullptr);
  return dtype;
}

void Sequential::create_parameters(std::span<const Shape> inputs, RandomStream& random) {
  if (has_graph()) return;
  nn::require_count(name(), "number of inputs", inputs.size(), 1, 1);
  const Shape& shape = inputs[0];
  if (layers_.empty()) throw_config_error(name(), "layers", "1 or more", "none");
  if (shape.rank() < 1) throw_config_error(name(), "input", "a batch axis", shape.to_string());
  const Symbol given = input_;
  if (!given.has_value()) {
    const bool is_lookup = layers_[0]->class_name() == "Embedding";
    const auto first = std::make_shared<graph::InputLayer>(
        InputConfig{.shape = {shape.begin() + 1, shape.end()},
                    .batch_size = shape[0],
                    .dtype = is_lookup ? Dtype::i32 : layers_[0]->policy().compute()});
    first->set_is_example();
    input_ = graph::symbol_of(first);
  }
  try {
    connect_layers(random);
  } catch (...) {
    input_ = given;
    throw;
  }
}

void Sequential::build(const std::vector<Index>& input_shape) {
  const Shape shape = Shape::partial(input_shape);
  build(std::span(&shape, 1), random_);
}

void Sequential::build_for_call(std::span<const Shape> inputs) {
  std::vector<Shape> shapes;
  for (const Shape& shape : inputs) {
    std::vector<Index> dims(shape.begin(), shape.end());
    if (!dims.empty()) dims[0] = -1;
    shapes.push_back(Shape::partial(dims));
  }
  build(shapes, random_);
}

void Sequential::append_parameters(const std::string& prefix, ParameterList& out) {
  graph::append_parameters_of(layers_, prefix, out);
}

}  // namespace grouphead
