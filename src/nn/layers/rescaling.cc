#include "core/check.h"
#include "grouphead/layers/preprocessing.h"
#include "nn/base_config.h"
#include "nn/layer_checks.h"
#include "nn/numbers_config.h"
#include "nn/operations/promotion.h"
#include "nn/registry.h"
#include "ops/broadcasting.h"
#include "ops/convert.h"
#include "ops/strided.h"

namespace grouphead {
namespace {

struct RescalingSaved final : Saved {
  Tensor scale;
};

/// f64 numbers as the layer computes with them.
Tensor rounded(Context& ctx, const Layer& layer, const Tensor& numbers) {
  Tensor made = ctx.tensor(numbers.shape(), layer.dtype());
  ops::convert_rounded(numbers, layer.policy().compute(), made);
  return made;
}

}  // namespace

Rescaling::Rescaling(const RescalingConfig& config)
    : Layer(config.name, config.dtype),
      config_(config),
      scale_(nn::numbers_from_config(config.name, "scale", config.scale)),
      offset_(nn::numbers_from_config(config.name, "offset", config.offset)) {}

ConfigValue Rescaling::get_config() const {
  ConfigValue config = Layer::get_config();
  config.set("scale", config_.scale);
  config.set("offset", config_.offset);
  return config;
}

void Rescaling::create_parameters(std::span<const Shape> inputs, RandomStream& /*random*/) {
  nn::require_count(name(), "number of inputs", inputs.size(), 1, 1);
}

std::vector<Value> Rescaling::forward(Context& ctx, std::span<const Value> in, const Mode& /*mode*/,
                                      std::unique_ptr<Saved>* saved) const {
  nn::require_count(name(), "number of inputs", in.size(), 1, 1);
  const Tensor x = nn::as_type(ctx, in[0].tensor, dtype());
  const Tensor scale = rounded(ctx, *this, scale_);
  const Tensor offset = rounded(ctx, *this, offset_);
  for (const Tensor* numbers : {&scale, &offset}) {
    if (ops::broadcast_shape(name(), x.shape(), numbers->shape()) != x.shape()) {
      core::throw_shape_error(name(), "input", "axes that scale and offset repeat along",
                              x.shape().to_string());
    }
  }
  Tensor y = ctx.tensor(x.shape(), dtype());
  ops::binary_forward(ctx, ops::Binary::multiply, x, scale, y);
  if (policy().compute() != dtype()) ops::convert_rounded(y, policy().compute(), y);
  ops::binary_forward(ctx, ops::Binary::add, y, offset, y);
  if (saved != nullptr) {
    auto keep = std::make_unique<RescalingSaved>();
    keep->scale = scale;
    *saved = std::move(keep);
  }
  return {Value{std::move(y), in[0].mask}};
}

void Rescaling::backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out,
                         std::span<View> d_in, Grads& /*grads*/) const {
  const auto& kept = nn::saved_as<RescalingSaved>(name(), saved);
  nn::require_count(name(), "number of output gradients", d_out.size(), 1, 1);
  nn::require_count(name(), "number of input gradients", d_in.size(), 1, 1);
  if (!d_out[0].has_value() || !d_in[0].has_value()) return;
  Tensor d_x = ctx.tensor(d_out[0].shape(), dtype());
  ops::binary_forward(ctx, ops::Binary::multiply, d_out[0], kept.scale, d_x);
  ops::add_elements(ctx, d_x, d_in[0]);
}

void Rescaling::append_parameters(const std::string& /*prefix*/, ParameterList& /*out*/) {}

std::shared_ptr<Layer> nn::make_rescaling(const ConfigValue& given) {
  ConfigReader reader("Rescaling", given);
  RescalingConfig config;
  config.name = reader.name(config.name);
  config.dtype = reader.dtype();
  reader.trainable();
  config.scale = reader.value("scale");
  if (reader.has("offset")) config.offset = reader.value("offset");
  reader.finish();
  return with_trainable(std::make_shared<Rescaling>(config), given);
}

}  // namespace grouphead
