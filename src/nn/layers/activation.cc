#include "grouphead/layers/activation.h"

#include <cmath>

#include "core/number_text.h"
#include "grouphead/layers/serialization.h"
#include "grouphead/layers/softmax.h"
#include "nn/base_config.h"
#include "nn/layer_checks.h"
#include "nn/registry.h"
#include "ops/activation.h"
#include "ops/arithmetic.h"

namespace grouphead {
namespace {

struct FunctionSaved final : Saved {
  Tensor x;
};

// ---- What the layers differ in: class, function, keys of the configuration ----------------------

void require_number(std::string_view layer, std::string_view option, double value, bool is_valid,
                    const char* expected) {
  if (is_valid) return;
  core::throw_config_error(layer, option, expected, core::number_text(value));
}

std::string_view class_of(const ActivationLayerConfig& /*config*/) { return "Activation"; }
Activation function_of(const ActivationLayerConfig& config) { return config.activation; }
void write(const ActivationLayerConfig& config, ConfigValue& out) {
  out.set("activation", config.activation.config());
}
void read(nn::ConfigReader& reader, ActivationLayerConfig& config) {
  config.activation = reader.activation();
}

std::string_view class_of(const ReLUConfig& /*config*/) { return "ReLU"; }
Activation function_of(const ReLUConfig& config) {
  for (const auto& [option, value] : {std::pair("max_value", config.max_value),
                                      std::pair("negative_slope", config.negative_slope),
                                      std::pair("threshold", config.threshold)}) {
    require_number("relu", option, value, value >= 0, "a number of 0 or more");
  }
  return Activation(Activation::relu)
      .with("max_value", config.max_value)
      .with("negative_slope", config.negative_slope)
      .with("threshold", config.threshold);
}
void write(const ReLUConfig& config, ConfigValue& out) {
  out.set("max_value",
          std::isinf(config.max_value) ? ConfigValue() : ConfigValue(config.max_value));
  out.set("negative_slope", config.negative_slope);
  out.set("threshold", config.threshold);
}
void read(nn::ConfigReader& reader, ReLUConfig& config) {
  config.max_value = reader.number("max_value", config.max_value);
  config.negative_slope = reader.number("negative_slope", config.negative_slope);
  config.threshold = reader.number("threshold", config.threshold);
}

std::string_view class_of(const LeakyReLUConfig& /*config*/) { return "LeakyReLU"; }
Activation function_of(const LeakyReLUConfig& config) {
  require_number("leaky_relu", "negative_slope", config.negative_slope, config.negative_slope >= 0,
                 "a number of 0 or more");
  return Activation(Activation::leaky_relu).with("negative_slope", config.negative_slope);
}
void write(const LeakyReLUConfig& config, ConfigValue& out) {
  out.set("negative_slope", config.negative_slope);
}
void read(nn::ConfigReader& reader, LeakyReLUConfig& config) {
  const double old_name = reader.number("alpha", config.negative_slope);
  config.negative_slope = reader.number("negative_slope", old_name);
}

std::string_view class_of(const ELUConfig& /*config*/) { return "ELU"; }
Activation function_of(const ELUConfig& config) {
  require_number("elu", "alpha", config.alpha, std::isfinite(config.alpha), "a finite number");
  return Activation(Activation::elu).with("alpha", config.alpha);
}
void write(const ELUConfig& config, ConfigValue& out) { out.set("alpha", config.alpha); }
void read(nn::ConfigReader& reader, ELUConfig& config) {
  config.alpha = reader.number("alpha", config.alpha);
}

/// The function of a layer that has no more than one. Absent for other layers.
template <class... Config>
std::optional<Activation> function_of_layer(const Layer& layer) {
  std::optional<Activation> found;
  const auto look = [&](const auto* typed) {
    if (typed != nullptr) found = typed->activation();
  };
  (look(dynamic_cast<const detail::FunctionLayer<Config>*>(&layer)), ...);
  if (dynamic_cast<const Softmax*>(&layer) != nullptr &&
      layer.get_config()["axis"] == ConfigValue(-1)) {
    found = Activation::softmax;
  }
  return found;
}

}  // namespace

Activation Activation::from_config(const ConfigValue& identifier) {
  if (identifier.is_null()) return linear;
  if (identifier.is_string()) return std::string_view(identifier.as_string("activation"));
  const std::string& class_name = identifier["class_name"].as_string("activation");
  if (class_name == "function") {
    return std::string_view(identifier["config"].as_string("activation"));
  }
  std::optional<Activation> found;
  if (has_layer(identifier)) {
    found = function_of_layer<ActivationLayerConfig, ReLUConfig, LeakyReLUConfig, ELUConfig>(
        *layer_from_config(identifier));
  }
  if (!found) {
    core::throw_config_error("activation", "layer",
                             "Activation, ELU, LeakyReLU, ReLU, or Softmax over the last axis",
                             class_name);
  }
  found->layer_ = std::make_shared<const ConfigValue>(identifier);
  return *found;
}

template <class Config>
detail::FunctionLayer<Config>::FunctionLayer(const Config& config)
    : Layer(config.name, config.dtype, config.activity_regularizer),
      config_(config),
      activation_(function_of(config)) {}

template <class Config>
std::string_view detail::FunctionLayer<Config>::class_name() const {
  return class_of(config_);
}

template <class Config>
ConfigValue detail::FunctionLayer<Config>::get_config() const {
  ConfigValue config = Layer::get_config();
  write(config_, config);
  return config;
}

template <class Config>
void detail::FunctionLayer<Config>::create_parameters(std::span<const Shape> inputs,
                                                      RandomStream& /*random*/) {
  nn::require_count(name(), "number of inputs", inputs.size(), 1, 1);
}

template <class Config>
std::vector<Value> detail::FunctionLayer<Config>::forward(Context& ctx, std::span<const Value> in,
                                                          const Mode& /*mode*/,
                                                          std::unique_ptr<Saved>* saved) const {
  nn::require_count(name(), "number of inputs", in.size(), 1, 1);
  const Tensor& x = in[0].tensor;
  Tensor y = ctx.tensor(x.shape(), dtype());
  ops::activation_forward(ctx, activation_, x, y);
  if (saved != nullptr) {
    auto keep = std::make_unique<FunctionSaved>();
    keep->x = x;
    *saved = std::move(keep);
  }
  return {Value{std::move(y), in[0].mask}};
}

template <class Config>
void detail::FunctionLayer<Config>::backward(Context& ctx, Saved& saved,
                                             std::span<const ConstView> d_out, std::span<View> d_in,
                                             Grads& /*grads*/) const {
  auto& kept = nn::saved_as<FunctionSaved>(name(), saved);
  nn::require_count(name(), "number of output gradients", d_out.size(), 1, 1);
  nn::require_count(name(), "number of input gradients", d_in.size(), 1, 1);
  if (!d_out[0].has_value() || !d_in[0].has_value()) return;
  Tensor d_x = ctx.tensor(kept.x.shape(), dtype());
  ops::activation_backward(ctx, activation_, kept.x, d_out[0], d_x);
  ops::add(ctx, d_in[0], d_x, d_in[0]);
}

template <class Config>
void detail::FunctionLayer<Config>::append_parameters(const std::string& /*prefix*/,
                                                      ParameterList& /*out*/) {}

template class detail::FunctionLayer<ActivationLayerConfig>;
template class detail::FunctionLayer<ReLUConfig>;
template class detail::FunctionLayer<LeakyReLUConfig>;
template class detail::FunctionLayer<ELUConfig>;

namespace nn {
namespace {

template <class Config>
std::shared_ptr<Layer> make_function_layer(const ConfigValue& given) {
  Config config;
  ConfigReader reader(class_of(config), given);
  read_base(reader, config);
  read(reader, config);
  reader.finish();
  return with_trainable(std::make_shared<detail::FunctionLayer<Config>>(config), given);
}

}  // namespace

std::shared_ptr<Layer> make_activation(const ConfigValue& config) {
  return make_function_layer<ActivationLayerConfig>(config);
}
std::shared_ptr<Layer> make_elu(const ConfigValue& config) {
  return make_function_layer<ELUConfig>(config);
}
std::shared_ptr<Layer> make_leaky_relu(const ConfigValue& config) {
  return make_function_layer<LeakyReLUConfig>(config);
}
std::shared_ptr<Layer> make_relu(const ConfigValue& config) {
  return make_function_layer<ReLUConfig>(config);
}

}  // namespace nn
}  // namespace grouphead
