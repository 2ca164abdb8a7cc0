#include "graph/input_layer.h"

#include "core/dtype_names.h"
#include "graph/node.h"
#include "nn/config_reader.h"
#include "nn/layer_checks.h"
#include "nn/shapes.h"
#include "ops/arithmetic.h"

namespace grouphead {
namespace graph {
namespace {

constexpr std::string_view kText = "string";

Shape with_batch(const InputConfig& config, bool is_text) {
  std::vector<Index> dims = {config.batch_size};
  dims.insert(dims.end(), config.shape.begin(), config.shape.end());
  if (is_text) dims.push_back(-1);
  return Shape::partial(dims);
}

}  // namespace

InputLayer::InputLayer(const InputConfig& config, bool is_text)
    : Layer(config.name, config.dtype == Dtype::f64 ? DtypePolicy("float64") : DtypePolicy()),
      config_(config),
      is_text_(is_text),
      shape_(with_batch(config, is_text)) {}

ConfigValue InputLayer::get_config() const {
  ConfigValue config;
  config.set("batch_shape", ConfigValue(is_text_ ? nn::without_last_axis(shape_) : shape_));
  config.set("dtype", is_text_ ? kText : core::keras_name(config_.dtype));
  config.set("sparse", false);
  config.set("ragged", false);
  config.set("name", name());
  config.set("optional", config_.optional);
  return config;
}

std::shared_ptr<InputLayer> InputLayer::from_config(const ConfigValue& config) {
  nn::ConfigReader reader("InputLayer", config);
  InputConfig made;
  // Older files say batch_input_shape.
  const char* key = reader.has("batch_input_shape") ? "batch_input_shape" : "batch_shape";
  const Shape shape = reader.value(key).as_shape("batch_shape");
  if (shape.rank() < 1)
    core::throw_config_error("InputLayer", key, "a batch axis", shape.to_string());
  made.batch_size = shape[0];
  made.shape.assign(shape.begin() + 1, shape.end());
  const std::string dtype = reader.string("dtype", "float32");
  const bool is_text = dtype == kText;
  made.dtype = is_text ? Dtype::u8 : core::dtype_from_keras(dtype);
  made.name = reader.name(made.name);
  made.optional = reader.boolean("optional", false);
  for (const char* kind : {"sparse", "ragged"}) {
    if (reader.boolean(kind, false)) {
      core::throw_config_error("InputLayer", kind, "false: inputs are dense", "true");
    }
  }
  reader.finish();
  return std::make_shared<InputLayer>(made, is_text);
}

void InputLayer::create_parameters(std::span<const Shape> /*inputs*/, RandomStream& /*random*/) {}

std::vector<Value> InputLayer::forward(Context& /*ctx*/, std::span<const Value> in,
                                       const Mode& /*mode*/, std::unique_ptr<Saved>* saved) const {
  nn::require_count(name(), "number of inputs", in.size(), 1, 1);
  if (saved != nullptr) *saved = std::make_unique<Saved>();
  return {in[0]};
}

void InputLayer::backward(Context& ctx, Saved& /*saved*/, std::span<const ConstView> d_out,
                          std::span<View> d_in, Grads& /*grads*/) const {
  if (d_out[0].has_value() && d_in[0].has_value()) ops::add(ctx, d_in[0], d_out[0], d_in[0]);
}

void InputLayer::append_parameters(const std::string& /*prefix*/, ParameterList& /*out*/) {}

Symbol symbol_of(std::shared_ptr<InputLayer> layer) {
  auto node = std::make_shared<Node>();
  node->shapes = {layer->shape()};
  node->dtypes = {layer->input_dtype()};
  node->order = next_call_order();
  node->layer = std::move(layer);
  return Symbol(std::move(node), 0);
}

const InputLayer* input_layer_of(const Symbol& symbol) {
  return dynamic_cast<const InputLayer*>(symbol.node()->layer.get());
}

}  // namespace graph

Symbol input(const InputConfig& config) {
  return graph::symbol_of(std::make_shared<graph::InputLayer>(config));
}

}  // namespace grouphead
