#include "grouphead/layers/dropout.h"

#include "nn/config_reader.h"
#include "nn/layer_checks.h"
#include "nn/registry.h"
#include "ops/arithmetic.h"
#include "ops/dropout.h"

namespace grouphead {
namespace {

constexpr std::string_view kLayer = "dropout";

struct DropoutSaved final : Saved {
  std::optional<RandomDraw> draw;  // absent: the call was the identity
};

}  // namespace

Dropout::Dropout(const DropoutConfig& config) : Layer(config.name, config.dtype), config_(config) {
  if (!(config.rate >= 0 && config.rate <= 1)) {
    detail::throw_config_error(kLayer, "rate", "0 <= rate <= 1", std::to_string(config.rate));
  }
  if (config.seed && config.rate > 0) generator_ = std::make_unique<SeedGenerator>(*config.seed);
}

ConfigValue Dropout::get_config() const {
  ConfigValue config = Layer::get_config();
  config.set("rate", config_.rate);
  config.set("seed", config_.seed ? ConfigValue(Index{*config_.seed}) : ConfigValue());
  config.set("noise_shape", nullptr);
  return config;
}

void Dropout::build(std::span<const Shape> inputs, RandomStream& random) {
  nn::require_count(kLayer, "number of inputs", inputs.size(), 1, 1);
  if (!generator_ && config_.rate > 0) {
    generator_ = std::make_unique<SeedGenerator>(draw_seed(random));
  }
}

std::optional<RandomDraw> Dropout::draw(const Mode& mode) const {
  if (!mode.training || config_.rate == 0) return {};
  if (config_.rate == 1) return RandomDraw{};  // needs no numbers, and Keras takes none
  if (mode.random != nullptr) return RandomDraw{RandomAlgorithm::philox, mode.random->next()};
  if (!generator_) {
    detail::throw_config_error(kLayer, "mode.random", "a random stream, a seed, or build()",
                               "none");
  }
  return RandomDraw{RandomAlgorithm::threefry, generator_->next()};
}

void Dropout::apply(Context& ctx, const RandomDraw& draw, ConstView x, View y) const {
  ops::dropout(ctx, x, config_.rate, draw, policy().compute(), y);
}

std::vector<Value> Dropout::forward(Context& ctx, std::span<const Value> in, const Mode& mode,
                                    std::unique_ptr<Saved>* saved) const {
  nn::require_count(kLayer, "number of inputs", in.size(), 1, 1);
  const std::optional<RandomDraw> drawn = draw(mode);
  if (saved != nullptr) {
    auto keep = std::make_unique<DropoutSaved>();
    keep->draw = drawn;
    *saved = std::move(keep);
  }
  if (!drawn) return {in[0]};
  Tensor y = ctx.tensor(in[0].tensor.shape(), dtype());
  apply(ctx, *drawn, in[0].tensor, y);
  return {Value{std::move(y), in[0].mask}};
}

void Dropout::backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out,
                       std::span<View> d_in, Grads& /*grads*/) const {
  auto& kept = nn::saved_as<DropoutSaved>(kLayer, saved);
  nn::require_count(kLayer, "number of output gradients", d_out.size(), 1, 1);
  nn::require_count(kLayer, "number of input gradients", d_in.size(), 1, 1);
  if (!d_out[0].has_value() || !d_in[0].has_value()) return;
  if (!kept.draw) {
    ops::add(ctx, d_in[0], d_out[0], d_in[0]);
    return;
  }
  Tensor d_x = ctx.tensor(d_out[0].shape(), dtype());
  apply(ctx, *kept.draw, d_out[0], d_x);
  ops::add(ctx, d_in[0], d_x, d_in[0]);
}

void Dropout::append_parameters(const std::string& /*prefix*/, ParameterList& /*out*/) const {}

namespace nn {

std::shared_ptr<Layer> make_dropout(const ConfigValue& config) {
  ConfigReader reader("Dropout", config);
  const DropoutConfig options{.rate = reader.value("rate").as_number("rate"),
                              .seed = reader.seed(),
                              .name = reader.name("dropout"),
                              .dtype = reader.dtype()};
  if (!reader.value("noise_shape").is_null()) {
    detail::throw_config_error(kLayer, "noise_shape", "null",
                               reader.value("noise_shape").to_string());
  }
  auto layer = std::make_shared<Dropout>(options);
  layer->set_trainable(reader.trainable());
  reader.finish();
  return layer;
}

}  // namespace nn
}  // namespace grouphead
