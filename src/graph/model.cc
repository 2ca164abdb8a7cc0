#include "grouphead/models/model.h"

#include <algorithm>

#include "core/check.h"
#include "core/comma_list.h"
#include "graph/graph.h"
#include "graph/run.h"
#include "nn/layer_checks.h"

namespace grouphead {
namespace {

using core::throw_config_error;
using graph::Graph;

// Gradients between a model and what is around it are in f64 once one of its layers is.
DtypePolicy policy_of(const Graph& graph) {
  const bool has_f64 =
      std::any_of(graph.steps().begin(), graph.steps().end(),
                  [](const graph::Step& step) { return step.layer().dtype() == Dtype::f64; });
  return has_f64 ? DtypePolicy("float64") : DtypePolicy();
}

void require_keys(const std::string& model, std::string_view what,
                  const std::vector<std::string>& keys, std::size_t count) {
  if (keys.empty() || keys.size() == count) return;
  throw_config_error(model, what, std::to_string(count) + " or none", std::to_string(keys.size()));
}

}  // namespace

Model::Model(const ModelConfig& config)
    : Model(config, std::make_unique<Graph>(config.name, config.inputs, config.outputs)) {}

Model::Model(const ModelConfig& config, std::unique_ptr<Graph> graph)
    : Layer(config.name, policy_of(*graph)),
      graph_(std::move(graph)),
      input_keys_(config.input_keys),
      output_keys_(config.output_keys) {
  require_keys(name(), "input_keys", input_keys_, config.inputs.size());
  require_keys(name(), "output_keys", output_keys_, config.outputs.size());
  RandomStream random(config.seed);
  graph_->build(random);
  set_built();
  if (!config.trainable) set_trainable(false);
}

Model::Model(const std::string& name, const DtypePolicy& policy) : Layer(name, policy) {}

Model::~Model() = default;

void Model::set_graph(std::vector<Symbol> inputs, std::vector<Symbol> outputs,
                      RandomStream& random) {
  auto graph = std::make_unique<Graph>(name(), std::move(inputs), std::move(outputs));
  graph->build(random);
  graph_ = std::move(graph);
  set_built();
  if (!trainable()) set_trainable(false);
}

// Its layers round what they take and make.
Tensor Model::received(Context& /*ctx*/, const Tensor& tensor) const { return tensor; }

Tensor Model::leaving(Context& /*ctx*/, Tensor tensor) const { return tensor; }

const Graph& Model::graph() const {
  nn::require_built(name(), graph_ != nullptr);
  return *graph_;
}

const Graph& graph::graph_of(const Model& model) { return model.graph(); }

std::span<const std::string_view> Model::input_names() const {
  if (!graph_) return Layer::input_names();
  return graph_->input_names();
}

std::vector<Shape> Model::output_shapes(std::span<const Shape> inputs,
                                        const CallArguments* /*arguments*/) const {
  return graph().output_shapes(inputs);
}

Dtype Model::output_dtype(std::span<const Dtype> /*inputs*/,
                          const CallArguments* /*arguments*/) const {
  return graph().outputs()[0].dtype();
}

void Model::create_parameters(std::span<const Shape> /*inputs*/, RandomStream& /*random*/) {}

std::vector<Value> Model::run(Context& ctx, std::span<const Value> in, const Mode& mode,
                              std::optional<bool> training, std::unique_ptr<Saved>* saved) const {
  return graph::run_forward(ctx, name(), graph(), in,
                            {.mode = mode, .training = training, .keeps_masks = keeps_masks_},
                            saved);
}

std::vector<Value> Model::forward(Context& ctx, std::span<const Value> in, const Mode& mode,
                                  std::unique_ptr<Saved>* saved) const {
  return run(ctx, in, mode, mode.training, saved);
}

void Model::backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out,
                     std::span<View> d_in, Grads& grads) const {
  graph::run_backward(ctx, name(), graph(), saved, d_out, d_in, grads);
}

void Model::append_parameters(const std::string& prefix, ParameterList& out) {
  if (graph_) graph::append_parameters_of(graph_->layers(), prefix, out);
}

std::vector<Tensor> Model::operator()(Context& ctx, std::span<const Tensor> in) {
  std::vector<Shape> shapes;
  for (const Tensor& tensor : in) shapes.push_back(tensor.shape());
  build_once(shapes);
  return std::as_const(*this)(ctx, in);
}

std::vector<Tensor> Model::operator()(Context& ctx, std::span<const Tensor> in) const {
  std::vector<Value> values;
  for (const Tensor& tensor : in) values.push_back({tensor, {}});
  std::vector<Tensor> out;
  for (Value& value : run(ctx, values, {}, std::nullopt, nullptr)) {
    out.push_back(std::move(value.tensor));
  }
  return out;
}

std::vector<Tensor> Model::operator()(Context& ctx, const std::map<std::string, Tensor>& in) const {
  std::vector<Tensor> tensors(graph().inputs().size());
  for (const auto& [key, tensor] : in) tensors[input_place(key)] = tensor;
  return (*this)(ctx, tensors);
}

Tensor Model::typed_call(Context& ctx, const LayerInput& x, std::unique_ptr<Saved>* saved) const {
  const Value in{x.tensor(ctx), {}};
  return run(ctx, std::span(&in, 1), {}, std::nullopt, saved).front().tensor;
}

const std::vector<Symbol>& Model::inputs() const { return graph().inputs(); }

const std::vector<Symbol>& Model::outputs() const { return graph().outputs(); }

std::vector<std::string> Model::output_names() const {
  if (!output_keys_.empty() || !graph_) return output_keys_;
  std::vector<std::string> names;
  for (const Symbol& output : graph_->outputs()) names.push_back(output.name());
  return names;
}

std::size_t Model::input_place(std::string_view key) const {
  const auto names = graph().input_names();
  const std::vector<std::string> known =
      input_keys_.empty() ? std::vector<std::string>(names.begin(), names.end()) : input_keys_;
  const auto found = std::find(known.begin(), known.end(), key);
  if (found == known.end()) {
    throw_config_error(name(), "inputs", core::comma_list(known), key);
  }
  return static_cast<std::size_t>(found - known.begin());
}

std::vector<std::shared_ptr<Layer>> Model::layers() const {
  std::vector<std::shared_ptr<Layer>> layers;
  for (const auto& layer : graph().layers()) {
    if (!graph::is_operation(*layer)) layers.push_back(layer);
  }
  return layers;
}

Outputs Model::outputs_of(std::string_view layer) const {
  const std::shared_ptr<Layer> found = get_layer(layer);
  const std::vector<const graph::Step*> calls = graph().calls_of(*found);
  std::vector<Symbol> symbols;
  if (calls.empty()) {
    for (const Symbol& input : inputs()) {
      if (input.node()->layer == found) symbols.push_back(input);
    }
    return Outputs(symbols);
  }
  for (std::size_t i = 0; i < calls.back()->num_outputs(); ++i) {
    symbols.emplace_back(calls.back()->node, static_cast<int>(i));
  }
  return Outputs(symbols);
}

std::shared_ptr<Layer> Model::get_layer(std::string_view layer) const {
  std::string known;
  for (const auto& candidate : layers()) {
    if (candidate->name() == layer) return candidate;
    known += (known.empty() ? "" : ", ") + candidate->name();
  }
  throw_config_error(name(), "layer", "one of " + known, layer);
}

std::vector<Tensor> get_weights(const Layer& layer) {
  std::vector<Tensor> weights;
  for (const auto& [path, parameter] : layer.parameters()) {
    Tensor copied(parameter->shape(), parameter->dtype());
    copy(parameter->value(), copied);
    weights.push_back(std::move(copied));
  }
  return weights;
}

void set_weights(Layer& layer, std::span<const Tensor> weights) {
  const ParameterList parameters = layer.parameters();
  nn::require_count(layer.name(), "number of weights", weights.size(), parameters.size(),
                    parameters.size());
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const Parameter& parameter = *parameters[i].parameter;
    if (weights[i].shape() != parameter.shape()) {
      core::throw_shape_error(layer.name(), parameters[i].path, parameter.shape().to_string(),
                              weights[i].shape().to_string());
    }
    core::require_dtype(layer.name(), parameters[i].path, weights[i], parameter.dtype());
  }
  for (std::size_t i = 0; i < weights.size(); ++i) {
    copy(weights[i], parameters[i].parameter->replace());
  }
}

Index count_params(const Layer& layer) { return count_elements(layer.parameters()); }

}  // namespace grouphead
