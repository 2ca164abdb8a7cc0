#include "grouphead/layers/activation.h"

#include "nn/base_config.h"
#include "nn/layer_checks.h"
#include "nn/registry.h"
#include "ops/activation.h"
#include "ops/arithmetic.h"

namespace grouphead {
namespace {

constexpr std::string_view kLayer = "activation";

struct ActivationSaved final : Saved {
  Tensor x;
};

}  // namespace

ActivationLayer::ActivationLayer(const ActivationLayerConfig& config)
    : Layer(config.name, config.dtype, config.activity_regularizer),
      activation_(config.activation) {}

ConfigValue ActivationLayer::get_config() const {
  ConfigValue config = Layer::get_config();
  config.set("activation", activation_.name());
  return config;
}

void ActivationLayer::create_parameters(std::span<const Shape> inputs, RandomStream& /*random*/) {
  nn::require_count(kLayer, "number of inputs", inputs.size(), 1, 1);
}

std::vector<Value> ActivationLayer::forward(Context& ctx, std::span<const Value> in,
                                            const Mode& /*mode*/,
                                            std::unique_ptr<Saved>* saved) const {
  nn::require_count(kLayer, "number of inputs", in.size(), 1, 1);
  const Tensor& x = in[0].tensor;
  Tensor y = ctx.tensor(x.shape(), dtype());
  ops::activation_forward(ctx, activation_, x, y);
  if (saved != nullptr) {
    auto keep = std::make_unique<ActivationSaved>();
    keep->x = x;
    *saved = std::move(keep);
  }
  return {Value{std::move(y), in[0].mask}};
}

void ActivationLayer::backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out,
                               std::span<View> d_in, Grads& /*grads*/) const {
  auto& kept = nn::saved_as<ActivationSaved>(kLayer, saved);
  nn::require_count(kLayer, "number of output gradients", d_out.size(), 1, 1);
  nn::require_count(kLayer, "number of input gradients", d_in.size(), 1, 1);
  if (!d_out[0].has_value() || !d_in[0].has_value()) return;
  Tensor d_x = ctx.tensor(kept.x.shape(), dtype());
  ops::activation_backward(ctx, activation_, kept.x, d_out[0], d_x);
  ops::add(ctx, d_in[0], d_x, d_in[0]);
}

void ActivationLayer::append_parameters(const std::string& /*prefix*/, ParameterList& /*out*/) {}

std::shared_ptr<Layer> nn::make_activation(const ConfigValue& config) {
  ConfigReader reader("Activation", config);
  ActivationLayerConfig options;
  read_base(reader, options);
  options.activation = reader.activation();
  reader.finish();
  return with_trainable(std::make_shared<ActivationLayer>(options), config);
}

}  // namespace grouphead
