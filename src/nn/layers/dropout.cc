#include "grouphead/layers/dropout.h"

#include <algorithm>
#include <array>

#include "core/number_text.h"
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

/// y = x * factors, whose axes of 1 repeat along those of x.
template <class T>
void multiply_repeated(ConstView x, const Tensor& factors, View y) {
  const int rank = x.rank();
  std::array<Index, kMaxRank> strides{};
  Index stride = 1;
  for (int axis = rank - 1; axis >= 0; --axis) {
    const auto a = static_cast<std::size_t>(axis);
    strides[a] = factors.dim(axis) == 1 ? 0 : stride;
    stride *= factors.dim(axis);
  }
  std::array<Index, kMaxRank> index{};
  Index place = 0;
  for (Index i = 0; i < x.size(); ++i) {
    y.data<T>()[i] = x.data<T>()[i] * factors.data<T>()[place];
    for (int axis = rank - 1; axis >= 0; --axis) {
      const auto a = static_cast<std::size_t>(axis);
      place += strides[a];
      if (++index[a] < x.dim(axis)) break;
      place -= strides[a] * x.dim(axis);
      index[a] = 0;
    }
  }
}

/// Errors: ShapeError unless each axis is 1, -1 or as in `x`.
Shape concrete_noise_shape(const std::vector<Index>& noise_shape, const Shape& x) {
  bool fits = noise_shape.size() == static_cast<std::size_t>(x.rank());
  std::vector<Index> dims;
  for (std::size_t i = 0; fits && i < noise_shape.size(); ++i) {
    const Index size = x[static_cast<int>(i)];
    dims.push_back(noise_shape[i] < 0 ? size : noise_shape[i]);
    fits = dims.back() == 1 || dims.back() == size;
  }
  if (!fits) {
    detail::throw_shape_error(kLayer, "noise_shape", "axes of 1 or of " + x.to_string(),
                              Shape::partial(noise_shape).to_string());
  }
  return Shape(dims);
}

ConfigValue noise_shape_config(const std::vector<Index>& noise_shape) {
  if (noise_shape.empty()) return {};
  ConfigValue::List list;
  for (const Index size : noise_shape) list.push_back(size < 0 ? ConfigValue() : ConfigValue(size));
  return list;
}

}  // namespace

Dropout::Dropout(const DropoutConfig& config) : Layer(config.name, config.dtype), config_(config) {
  if (!(config.rate >= 0 && config.rate <= 1)) {
    detail::throw_config_error(kLayer, "rate", "0 <= rate <= 1", detail::number_text(config.rate));
  }
  if (config.seed && config.rate > 0) generator_ = std::make_unique<SeedGenerator>(*config.seed);
}

ConfigValue Dropout::get_config() const {
  ConfigValue config = Layer::get_config();
  config.set("rate", config_.rate);
  config.set("seed", config_.seed ? ConfigValue(Index{*config_.seed}) : ConfigValue());
  config.set("noise_shape", noise_shape_config(config_.noise_shape));
  return config;
}

void Dropout::create_parameters(std::span<const Shape> inputs, RandomStream& random) {
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
  if (config_.noise_shape.empty()) {
    return ops::dropout(ctx, x, config_.rate, draw, policy().compute(), y);
  }
  Tensor factors = ctx.tensor(concrete_noise_shape(config_.noise_shape, x.shape()), dtype());
  if (dtype() == Dtype::f64) {
    std::fill_n(factors.data<double>(), factors.size(), 1.0);
  } else {
    std::fill_n(factors.data<float>(), factors.size(), 1.0F);
  }
  ops::dropout(ctx, factors, config_.rate, draw, policy().compute(), factors);
  if (dtype() == Dtype::f64) return multiply_repeated<double>(x, factors, y);
  multiply_repeated<float>(x, factors, y);
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

void Dropout::append_parameters(const std::string& /*prefix*/, ParameterList& /*out*/) {}

namespace nn {

std::shared_ptr<Layer> make_dropout(const ConfigValue& config) {
  ConfigReader reader("Dropout", config);
  DropoutConfig options{.rate = reader.value("rate").as_number("rate"),
                        .seed = reader.seed(),
                        .name = reader.name("dropout"),
                        .dtype = reader.dtype()};
  if (const ConfigValue& noise_shape = reader.value("noise_shape"); !noise_shape.is_null()) {
    for (const ConfigValue& size : noise_shape.as_list("noise_shape")) {
      options.noise_shape.push_back(size.is_null() ? -1 : size.as_integer("noise_shape"));
    }
  }
  auto layer = std::make_shared<Dropout>(options);
  layer->set_trainable(reader.trainable());
  reader.finish();
  return layer;
}

}  // namespace nn
}  // namespace grouphead
