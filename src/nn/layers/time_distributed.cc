#include <algorithm>
#include <array>

#include "core/check.h"
#include "grouphead/layers/serialization.h"
#include "grouphead/layers/wrappers.h"
#include "nn/base_config.h"
#include "nn/layer_checks.h"
#include "nn/nested_config.h"
#include "nn/quantization_config.h"
#include "nn/registry.h"
#include "nn/shapes.h"
#include "ops/strided.h"

namespace grouphead {
namespace {

/// Layers in which no row depends on another, nor on how many calls were before: one call serves
/// all steps.
constexpr std::array<std::string_view, 15> kRowsAlone = {"Activation",       "AveragePooling1D",
                                                         "AveragePooling2D", "Conv1D",
                                                         "Conv2D",           "Dense",
                                                         "EinsumDense",      "Embedding",
                                                         "Flatten",          "LayerNormalization",
                                                         "MaxPooling1D",     "MaxPooling2D",
                                                         "Permute",          "RMSNormalization",
                                                         "Reshape"};
/// Layers whose call has the argument `mask` in Keras.
constexpr std::array<std::string_view, 12> kReadMask = {"BatchNormalization",
                                                        "Bidirectional",
                                                        "Functional",
                                                        "GRU",
                                                        "GlobalAveragePooling1D",
                                                        "LSTM",
                                                        "Model",
                                                        "RNN",
                                                        "Sequential",
                                                        "SimpleRNN",
                                                        "Softmax",
                                                        "TimeDistributed"};

bool is_among(std::span<const std::string_view> names, const Layer& layer) {
  return std::find(names.begin(), names.end(), layer.class_name()) != names.end();
}

Shape without_time(const Shape& x) {
  std::vector<Index> dims{x[0]};
  dims.insert(dims.end(), x.begin() + 2, x.end());
  return Shape::partial(dims);
}

Shape with_time(const Shape& y, Index steps) {
  std::vector<Index> dims{y[0], steps};
  dims.insert(dims.end(), y.begin() + 1, y.end());
  return Shape::partial(dims);
}

/// [B, T, ...] with all steps as rows.
Shape as_rows(const Shape& x) {
  std::vector<Index> dims{x[0] * x[1]};
  dims.insert(dims.end(), x.begin() + 2, x.end());
  return Shape(dims);
}

/// Step t of x [B, T, ...].
template <class V>
V step_of(V x, Index t) {
  const V one = x.slice(1, t, t + 1);
  std::vector<Index> dims{x.dim(0)};
  Strides strides{x.stride(0)};
  for (int axis = 2; axis < x.rank(); ++axis) {
    dims.push_back(x.dim(axis));
    strides[static_cast<std::size_t>(axis) - 1] = x.stride(axis);
  }
  return V(one.raw(), one.dtype(), Shape(dims), strides);
}

}  // namespace

struct TimeDistributed::Run final : Saved {
  std::vector<std::unique_ptr<Saved>> calls;  // one, or one for each step
  Shape input, output;
};

TimeDistributed::TimeDistributed(const TimeDistributedConfig& config)
    : Layer(config.name, config.dtype, config.activity_regularizer), layer_(config.layer) {
  if (layer_ == nullptr) core::throw_config_error(name(), "layer", "a layer", "none");
  if (layer_->dtype() != dtype()) {
    core::throw_config_error(name(), "dtype", "that of its layer", policy().name());
  }
}

ConfigValue TimeDistributed::get_config() const {
  ConfigValue config = Layer::get_config();
  config.set("layer", layer_to_config(*layer_));
  return config;
}

std::vector<Shape> TimeDistributed::output_shapes(std::span<const Shape> inputs,
                                                  const CallArguments* /*arguments*/) const {
  nn::require_count(name(), "number of inputs", inputs.size(), 1, 1);
  if (inputs[0].rank() < 3) {
    core::throw_shape_error(name(), "input", "rank 3 or more", inputs[0].to_string());
  }
  const Shape step = without_time(inputs[0]);
  const std::vector<Shape> made = layer_->output_shapes(std::span(&step, 1), nullptr);
  if (made.size() != 1 || made[0].rank() < 1) {
    core::throw_shape_error(name(), "layer", "one output with a batch axis",
                            std::to_string(made.size()) + " outputs");
  }
  return {with_time(made[0], inputs[0][1])};
}

Dtype TimeDistributed::output_dtype(std::span<const Dtype> inputs,
                                    const CallArguments* /*arguments*/) const {
  return layer_->output_dtype(inputs, nullptr);
}

void TimeDistributed::create_parameters(std::span<const Shape> inputs, RandomStream& random) {
  nn::require_count(name(), "number of inputs", inputs.size(), 1, 1);
  if (inputs[0].rank() < 3) {
    core::throw_shape_error(name(), "input", "rank 3 or more", inputs[0].to_string());
  }
  if (!layer_->is_built() || layer_->parameters().empty()) {
    const Shape step = without_time(inputs[0]);
    layer_->build(std::span(&step, 1), random);
  }
  output_shapes(inputs, nullptr);  // checks
  if (trainable()) return;
  for (const auto& [path, parameter] : parameters()) parameter->set_trainable(false);
}

std::vector<Value> TimeDistributed::forward(Context& ctx, std::span<const Value> in,
                                            const Mode& mode, std::unique_ptr<Saved>* saved) const {
  nn::require_count(name(), "number of inputs", in.size(), 1, 1);
  const Shape& x = in[0].tensor.shape();
  if (x.rank() < 3 || x[1] < 1) {
    core::throw_shape_error(name(), "input", "rank 3 or more and 1 step or more", x.to_string());
  }
  if (in[0].mask) {
    const Shape& mask = in[0].mask->shape();
    if (mask.rank() < 2 || mask[0] != x[0] || mask[1] != x[1]) {
      core::throw_shape_error(name(), "mask", "the first two axes of " + x.to_string(),
                              mask.to_string());
    }
  }
  auto keep = saved != nullptr ? std::make_unique<Run>() : nullptr;
  Tensor y = apply(ctx, in[0], mode, keep.get());
  if (keep) {
    keep->input = x;
    keep->output = y.shape();
    *saved = std::move(keep);
  }
  return {Value{std::move(y), in[0].mask}};
}

Tensor TimeDistributed::apply(Context& ctx, const Value& in, const Mode& mode, Run* keep) const {
  const Shape& x = in.tensor.shape();
  Mode inner = mode;
  inner.arguments = nullptr;
  const bool has_mask = in.mask.has_value() && is_among(kReadMask, *layer_);
  const auto call = [&](const Value& value) {
    std::unique_ptr<Saved>* saved = nullptr;
    if (keep != nullptr) saved = &keep->calls.emplace_back();
    std::vector<Value> made = layer_->forward(ctx, std::span(&value, 1), inner, saved);
    nn::require_count(name(), "number of outputs", made.size(), 1, 1);
    return made[0].tensor;
  };
  if (is_among(kRowsAlone, *layer_)) {
    const Tensor y = call({in.tensor.reshaped(as_rows(x)), {}});
    std::vector<Index> dims{x[0], x[1]};
    dims.insert(dims.end(), y.shape().begin() + 1, y.shape().end());
    return y.reshaped(Shape(dims));
  }
  Tensor all;
  for (Index t = 0; t < x[1]; ++t) {
    Value step{nn::copied(ctx, step_of(in.tensor.view(), t)), {}};
    if (has_mask) step.mask = nn::copied(ctx, step_of(in.mask->view(), t));
    const Tensor y = call(step);
    if (t == 0) all = ctx.tensor(with_time(y.shape(), x[1]), y.dtype());
    ops::copy_elements(ctx, y, step_of(all.view(), t));
  }
  return all;
}

void TimeDistributed::backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out,
                               std::span<View> d_in, Grads& grads) const {
  auto& kept = nn::saved_as<Run>(name(), saved);
  nn::require_count(name(), "number of output gradients", d_out.size(), 1, 1);
  nn::require_count(name(), "number of input gradients", d_in.size(), 1, 1);
  if (!d_out[0].has_value()) return;
  const bool wants_x = d_in[0].has_value();
  if (is_among(kRowsAlone, *layer_)) {
    const ConstView d_y = d_out[0].reshaped(as_rows(kept.output));
    View d_x = wants_x ? d_in[0].reshaped(as_rows(kept.input)) : View();
    return layer_->backward(ctx, *kept.calls[0], std::span(&d_y, 1), std::span(&d_x, 1), grads);
  }
  for (Index t = kept.input[1] - 1; t >= 0; --t) {
    const Tensor d_step = nn::copied(ctx, step_of(d_out[0], t));
    const ConstView d_y = d_step.view();
    Tensor d_given = wants_x ? ctx.zeros(without_time(kept.input), dtype()) : Tensor();
    View d_x = wants_x ? d_given.view() : View();
    layer_->backward(ctx, *kept.calls[static_cast<std::size_t>(t)], std::span(&d_y, 1),
                     std::span(&d_x, 1), grads);
    if (wants_x) ops::add_elements(ctx, d_given, step_of(d_in[0], t));
  }
}

void TimeDistributed::append_parameters(const std::string& prefix, ParameterList& out) {
  layer_->append_parameters(prefix + layer_->name() + "/", out);
}

std::vector<SubLayer> TimeDistributed::sub_layers() const { return {{"layer", layer_}}; }

namespace {

/// A layer as Keras's TimeDistributed calls it, as if it were not quantized. Numbers in 4 and 8
/// bits are told so when they are loaded; with float8 there is nothing else.
ConfigValue without_float8(const ConfigValue& layer) {
  if (!layer.is_object() || !layer["config"].is_object()) return layer;
  const auto policy = nn::quantized_policy(layer["config"]["dtype"]);
  if (!policy || policy->mode != "float8") return layer;
  ConfigValue config = layer["config"];
  config.set("dtype", policy->source);
  ConfigValue made = layer;
  made.set("config", std::move(config));
  return made;
}

}  // namespace

std::shared_ptr<Layer> nn::make_time_distributed(const ConfigValue& given) {
  ConfigReader reader("TimeDistributed", given);
  TimeDistributedConfig config;
  read_base(reader, config);
  config.layer = nested_layer(config.name, "layer", without_float8(reader.value("layer")));
  reader.finish();
  return with_trainable(std::make_shared<TimeDistributed>(config), given);
}

}  // namespace grouphead
