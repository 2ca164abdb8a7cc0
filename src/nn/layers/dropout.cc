#include "grouphead/layers/dropout.h"

#include <cmath>

#include "core/number_text.h"
#include "core/seed.h"
#include "nn/base_config.h"
#include "nn/layer_checks.h"
#include "nn/layers/random_numbers.h"
#include "nn/registry.h"
#include "ops/arithmetic.h"

namespace grouphead {
namespace {

using nn::NoiseShape;

struct RandomSaved final : Saved {
  std::optional<RandomDraw> draw;  // absent: the call was the identity
};

double share(std::string_view layer, const char* option, double value, bool one_is_valid = true) {
  if (!(value >= 0 && (value < 1 || (one_is_valid && value == 1)))) {
    core::throw_config_error(
        layer, option, std::string("0 <= ").append(option).append(one_is_valid ? " <= 1" : " < 1"),
        core::number_text(value));
  }
  return value;
}

// ---- What the layers differ in: how much they draw, and what they make of it -------------------
//
// Of each configuration: its class, `strength` (0: the identity), `apply` to numbers or, with
// `is_gradient`, to the gradient of the result, and the keys that are its own.

struct Call {
  Context& ctx;
  const RandomDraw& draw;
  const DtypePolicy& policy;
  bool is_gradient;
};

std::string_view class_of(const DropoutConfig& /*config*/) { return "Dropout"; }
double strength(const DropoutConfig& config) { return share("dropout", "rate", config.rate); }
void apply(const DropoutConfig& config, const Call& call, ConstView x, View y) {
  nn::drop(call.ctx, config.rate, call.draw, NoiseShape("dropout", config.noise_shape), call.policy,
           x, y);
}
void write(const DropoutConfig& config, ConfigValue& out) {
  out.set("noise_shape", nn::noise_shape_config(config.noise_shape));
}
void read(nn::ConfigReader& reader, DropoutConfig& config) {
  config.rate = reader.value("rate").as_number("rate");
  config.noise_shape = nn::noise_shape_from("dropout", reader.value("noise_shape"));
}

std::string_view class_of(const SpatialDropout1DConfig& /*config*/) { return "SpatialDropout1D"; }
double strength(const SpatialDropout1DConfig& config) {
  return share("spatial_dropout1d", "rate", config.rate);
}
void apply(const SpatialDropout1DConfig& config, const Call& call, ConstView x, View y) {
  nn::drop(call.ctx, config.rate, call.draw, NoiseShape("spatial_dropout1d", {-1, 1, -1}),
           call.policy, x, y);
}
void write(const SpatialDropout1DConfig& /*config*/, ConfigValue& /*out*/) {}
void read(nn::ConfigReader& reader, SpatialDropout1DConfig& config) {
  config.rate = reader.value("rate").as_number("rate");
}

std::string_view class_of(const SpatialDropout2DConfig& /*config*/) { return "SpatialDropout2D"; }
double strength(const SpatialDropout2DConfig& config) {
  return share("spatial_dropout2d", "rate", config.rate);
}
void apply(const SpatialDropout2DConfig& config, const Call& call, ConstView x, View y) {
  const std::vector<Index> shape =
      config.channels_first ? std::vector<Index>{-1, -1, 1, 1} : std::vector<Index>{-1, 1, 1, -1};
  nn::drop(call.ctx, config.rate, call.draw, NoiseShape("spatial_dropout2d", shape), call.policy, x,
           y);
}
void write(const SpatialDropout2DConfig& config, ConfigValue& out) {
  out.set("data_format", config.channels_first ? "channels_first" : "channels_last");
}
void read(nn::ConfigReader& reader, SpatialDropout2DConfig& config) {
  config.rate = reader.value("rate").as_number("rate");
  const std::string format = reader.string("data_format", "channels_last");
  if (format != "channels_first" && format != "channels_last") {
    core::throw_config_error("spatial_dropout2d", "data_format", "channels_last or channels_first",
                             format);
  }
  config.channels_first = format == "channels_first";
}

std::string_view class_of(const GaussianNoiseConfig& /*config*/) { return "GaussianNoise"; }
double strength(const GaussianNoiseConfig& config) {
  return share("gaussian_noise", "stddev", config.stddev);
}
void apply(const GaussianNoiseConfig& config, const Call& call, ConstView x, View y) {
  if (call.is_gradient) return copy(x, y);
  const Tensor noise =
      nn::normal_numbers(call.ctx, x.shape(), 0, config.stddev, call.draw.key, call.policy);
  ops::add(call.ctx, x, noise, y);
}
void write(const GaussianNoiseConfig& /*config*/, ConfigValue& /*out*/) {}
void read(nn::ConfigReader& reader, GaussianNoiseConfig& config) {
  config.stddev = reader.value("stddev").as_number("stddev");
}

std::string_view class_of(const GaussianDropoutConfig& /*config*/) { return "GaussianDropout"; }
double strength(const GaussianDropoutConfig& config) {
  return share("gaussian_dropout", "rate", config.rate);
}
void apply(const GaussianDropoutConfig& config, const Call& call, ConstView x, View y) {
  share("gaussian_dropout", "rate", config.rate, false);
  const double stddev = std::sqrt(config.rate / (1 - config.rate));
  const Tensor noise =
      nn::normal_numbers(call.ctx, x.shape(), 1, stddev, call.draw.key, call.policy);
  nn::multiply(call.ctx, x, noise, y);
}
void write(const GaussianDropoutConfig& /*config*/, ConfigValue& /*out*/) {}
void read(nn::ConfigReader& reader, GaussianDropoutConfig& config) {
  config.rate = reader.value("rate").as_number("rate");
}

std::string_view class_of(const AlphaDropoutConfig& /*config*/) { return "AlphaDropout"; }
double strength(const AlphaDropoutConfig& config) {
  return share("alpha_dropout", "rate", config.rate);
}
void apply(const AlphaDropoutConfig& config, const Call& call, ConstView x, View y) {
  share("alpha_dropout", "rate", config.rate, false);
  nn::alpha_drop(call.ctx, config.rate, call.draw.key,
                 NoiseShape("alpha_dropout", config.noise_shape), call.is_gradient, x, y);
}
void write(const AlphaDropoutConfig& config, ConfigValue& out) {
  out.set("noise_shape", nn::noise_shape_config(config.noise_shape));
}
void read(nn::ConfigReader& reader, AlphaDropoutConfig& config) {
  config.rate = reader.value("rate").as_number("rate");
  config.noise_shape = nn::noise_shape_from("alpha_dropout", reader.value("noise_shape"));
}

template <class Config>
constexpr bool kIsSpatial = std::is_same_v<Config, SpatialDropout1DConfig> ||
                            std::is_same_v<Config, SpatialDropout2DConfig>;

/// Errors: ShapeError for another rank than the spatial ones have.
template <class Config>
void require_rank(std::string_view layer, const Shape& input) {
  if constexpr (kIsSpatial<Config>) {
    constexpr int kRank = std::is_same_v<Config, SpatialDropout1DConfig> ? 3 : 4;
    if (input.rank() == kRank) return;
    core::throw_shape_error(layer, "input", "rank " + std::to_string(kRank), input.to_string());
  }
}

template <class Config>
Regularizer activity_regularizer_of(const Config& config) {
  if constexpr (kIsSpatial<Config>) {
    return {};
  } else {
    return config.activity_regularizer;
  }
}

}  // namespace

template <class Config>
detail::RandomLayer<Config>::RandomLayer(const Config& config)
    : Layer(config.name, config.dtype, activity_regularizer_of(config)), config_(config) {
  core::require_seed(config.seed);
  const bool draws = strength(config) > 0;
  if (config.seed && draws) generator_ = std::make_unique<SeedGenerator>(*config.seed);
}

template <class Config>
std::string_view detail::RandomLayer<Config>::class_name() const {
  return class_of(config_);
}

template <class Config>
ConfigValue detail::RandomLayer<Config>::get_config() const {
  ConfigValue config = Layer::get_config();
  // Keras's constructors of the spatial ones take no `trainable`.
  if (kIsSpatial<Config>) {
    config = ConfigValue::Object{{"name", config["name"]}, {"dtype", config["dtype"]}};
  }
  if constexpr (std::is_same_v<Config, GaussianNoiseConfig>) {
    config.set("stddev", config_.stddev);
  } else {
    config.set("rate", config_.rate);
  }
  config.set("seed", nn::seed_config(config_.seed));
  write(config_, config);
  return config;
}

template <class Config>
void detail::RandomLayer<Config>::create_parameters(std::span<const Shape> inputs,
                                                    RandomStream& random) {
  nn::require_count(name(), "number of inputs", inputs.size(), 1, 1);
  require_rank<Config>(name(), inputs[0]);
  if (!generator_ && strength(config_) > 0) {
    generator_ = std::make_unique<SeedGenerator>(core::draw_seed(random));
  }
}

template <class Config>
std::optional<RandomDraw> detail::RandomLayer<Config>::draw(const Mode& mode) const {
  if (!mode.training || strength(config_) == 0) return {};
  if ((std::is_same_v<Config, DropoutConfig> || kIsSpatial<Config>)&&strength(config_) == 1) {
    return RandomDraw{};  // needs no numbers, and Keras takes none
  }
  if (mode.random != nullptr) return RandomDraw{RandomAlgorithm::philox, mode.random->next()};
  if (!generator_) {
    core::throw_config_error(name(), "mode.random", "a random stream, a seed, or build()", "none");
  }
  return RandomDraw{RandomAlgorithm::threefry, generator_->next()};
}

template <class Config>
void detail::RandomLayer<Config>::apply(Context& ctx, const RandomDraw& draw, ConstView x,
                                        View y) const {
  grouphead::apply(config_, {ctx, draw, policy(), false}, x, y);
}

template <class Config>
std::vector<Value> detail::RandomLayer<Config>::forward(Context& ctx, std::span<const Value> in,
                                                        const Mode& mode,
                                                        std::unique_ptr<Saved>* saved) const {
  nn::require_count(name(), "number of inputs", in.size(), 1, 1);
  require_rank<Config>(name(), in[0].tensor.shape());
  const std::optional<RandomDraw> drawn = draw(mode);
  if (saved != nullptr) {
    auto keep = std::make_unique<RandomSaved>();
    keep->draw = drawn;
    *saved = std::move(keep);
  }
  if (!drawn) return {in[0]};
  Tensor y = ctx.tensor(in[0].tensor.shape(), dtype());
  apply(ctx, *drawn, in[0].tensor, y);
  return {Value{std::move(y), in[0].mask}};
}

template <class Config>
void detail::RandomLayer<Config>::backward(Context& ctx, Saved& saved,
                                           std::span<const ConstView> d_out, std::span<View> d_in,
                                           Grads& /*grads*/) const {
  auto& kept = nn::saved_as<RandomSaved>(name(), saved);
  nn::require_count(name(), "number of output gradients", d_out.size(), 1, 1);
  nn::require_count(name(), "number of input gradients", d_in.size(), 1, 1);
  if (!d_out[0].has_value() || !d_in[0].has_value()) return;
  if (!kept.draw) return ops::add(ctx, d_in[0], d_out[0], d_in[0]);
  Tensor d_x = ctx.tensor(d_out[0].shape(), dtype());
  grouphead::apply(config_, {ctx, *kept.draw, policy(), true}, d_out[0], d_x);
  ops::add(ctx, d_in[0], d_x, d_in[0]);
}

template <class Config>
void detail::RandomLayer<Config>::append_parameters(const std::string& /*prefix*/,
                                                    ParameterList& /*out*/) {}

template class detail::RandomLayer<DropoutConfig>;
template class detail::RandomLayer<SpatialDropout1DConfig>;
template class detail::RandomLayer<SpatialDropout2DConfig>;
template class detail::RandomLayer<GaussianNoiseConfig>;
template class detail::RandomLayer<GaussianDropoutConfig>;
template class detail::RandomLayer<AlphaDropoutConfig>;

namespace nn {
namespace {

template <class Config>
std::shared_ptr<Layer> make_random_layer(const ConfigValue& given) {
  Config config;
  ConfigReader reader(class_of(config), given);
  if constexpr (kIsSpatial<Config>) {
    config.name = reader.name(config.name);
    config.dtype = reader.dtype();
    reader.trainable();
  } else {
    read_base(reader, config);
  }
  config.seed = reader.seed();
  read(reader, config);
  reader.finish();
  return with_trainable(std::make_shared<detail::RandomLayer<Config>>(config), given);
}

}  // namespace

std::shared_ptr<Layer> make_alpha_dropout(const ConfigValue& config) {
  return make_random_layer<AlphaDropoutConfig>(config);
}
std::shared_ptr<Layer> make_dropout(const ConfigValue& config) {
  return make_random_layer<DropoutConfig>(config);
}
std::shared_ptr<Layer> make_gaussian_dropout(const ConfigValue& config) {
  return make_random_layer<GaussianDropoutConfig>(config);
}
std::shared_ptr<Layer> make_gaussian_noise(const ConfigValue& config) {
  return make_random_layer<GaussianNoiseConfig>(config);
}
std::shared_ptr<Layer> make_spatial_dropout_1d(const ConfigValue& config) {
  return make_random_layer<SpatialDropout1DConfig>(config);
}
std::shared_ptr<Layer> make_spatial_dropout_2d(const ConfigValue& config) {
  return make_random_layer<SpatialDropout2DConfig>(config);
}

}  // namespace nn
}  // namespace grouphead
