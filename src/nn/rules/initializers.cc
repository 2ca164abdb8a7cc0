#include "grouphead/layers/initializers.h"

#include <algorithm>
#include <array>

#include "nn/rules/random_initializers.h"
#include "nn/rules/rule.h"
#include "ops/floating.h"

namespace grouphead {
namespace {

constexpr std::string_view kKind = "initializer";

using Made = nn::MadeInitializer;

/// Zeros, Ones and Constant.
class ConstantRule final : public nn::NamedRule<InitializerRule> {
 public:
  ConstantRule(nn::RuleReader&& reader, double value)
      : NamedRule(reader.class_name()), value_(value) {
    config_ = reader.finish();
  }
  void fill(View w, const Fans& /*fans*/, RandomStream& /*random*/) const override {
    ops::with_floating(kKind, "w", w.dtype(), [&](auto zero) {
      using F = decltype(zero);
      std::fill_n(w.data<F>(), w.size(), ops::narrowed<F>(value_));
    });
  }

 private:
  double value_;
};

class IdentityRule final : public nn::NamedRule<InitializerRule> {
 public:
  explicit IdentityRule(nn::RuleReader&& reader)
      : NamedRule(reader.class_name()), gain_(reader.number("gain", 1)) {
    config_ = reader.finish();
  }
  void fill(View w, const Fans& /*fans*/, RandomStream& /*random*/) const override {
    core::require_shape(class_name(), "w", w, {-1, -1});
    fill_zero(w);
    ops::with_floating(kKind, "w", w.dtype(), [&](auto zero) {
      using F = decltype(zero);
      for (Index i = 0; i < std::min(w.dim(0), w.dim(1)); ++i) {
        w.data<F>()[i * w.dim(1) + i] = ops::narrowed<F>(gain_);
      }
    });
  }

 private:
  double gain_;
};

template <auto kMake>
Made make_seeded(std::string_view class_name, const ConfigValue& config) {
  return kMake(class_name, config, Seed::from_config(config["seed"]));
}

Made make_zeros(std::string_view class_name, const ConfigValue& config) {
  return std::make_shared<ConstantRule>(nn::RuleReader(class_name, config), 0);
}
Made make_ones(std::string_view class_name, const ConfigValue& config) {
  return std::make_shared<ConstantRule>(nn::RuleReader(class_name, config), 1);
}
Made make_constant(std::string_view class_name, const ConfigValue& config) {
  // Keras needs the value here, though its constructor has a default.
  if (!config.contains("value")) {
    core::throw_config_error(class_name, "value", "a number", "none");
  }
  nn::RuleReader reader(class_name, config);
  const double value = reader.number("value", 0);
  return std::make_shared<ConstantRule>(std::move(reader), value);
}
Made make_identity(std::string_view class_name, const ConfigValue& config) {
  return std::make_shared<IdentityRule>(nn::RuleReader(class_name, config));
}

constexpr nn::RuleEntry<InitializerRule> kEntries[] = {
    {{"Constant", "constant"}, make_constant},
    {{"GlorotNormal", "glorot_normal"}, make_seeded<nn::make_scaled>},
    {{"GlorotUniform", "glorot_uniform"}, make_seeded<nn::make_scaled>},
    {{"HeNormal", "he_normal"}, make_seeded<nn::make_scaled>},
    {{"HeUniform", "he_uniform"}, make_seeded<nn::make_scaled>},
    {{"Identity", "identity", "IdentityInitializer"}, make_identity},
    {{"LecunNormal", "lecun_normal"}, make_seeded<nn::make_scaled>},
    {{"LecunUniform", "lecun_uniform"}, make_seeded<nn::make_scaled>},
    {{"Ones", "ones", "one"}, make_ones},
    {{"Orthogonal", "orthogonal", "OrthogonalInitializer"}, make_seeded<nn::make_orthogonal>},
    {{"RandomNormal", "random_normal", "normal"}, make_seeded<nn::make_random_normal>},
    {{"RandomUniform", "random_uniform", "uniform"}, make_seeded<nn::make_random_uniform>},
    {{"TruncatedNormal", "truncated_normal"}, make_seeded<nn::make_truncated_normal>},
    {{"VarianceScaling", "variance_scaling"}, make_seeded<nn::make_scaled>},
    {{"Zeros", "zeros", "zero"}, make_zeros},
};

}  // namespace

Fans fans_of(const Shape& shape) noexcept {
  if (shape.rank() == 0) return {1, 1};
  if (shape.rank() == 1) return {shape[0], shape[0]};
  Index leading = 1;
  for (int axis = 0; axis < shape.rank() - 2; ++axis) leading *= shape[axis];
  return {leading * shape[shape.rank() - 2], leading * shape.back()};
}

std::shared_ptr<const InitializerRule> InitializerRule::from_config(const ConfigValue& identifier) {
  return nn::make_rule<InitializerRule>(kKind, kEntries, identifier);
}

namespace initializers {

Initializer zeros() { return make_zeros("Zeros", {}); }
Initializer ones() { return make_ones("Ones", {}); }
Initializer constant(double value) {
  return make_constant("Constant", ConfigValue::Object{{"value", value}});
}
Initializer identity(double gain) {
  return make_identity("Identity", ConfigValue::Object{{"gain", gain}});
}

Initializer random_uniform(double minval, double maxval, const Seed& seed) {
  return nn::make_random_uniform("RandomUniform",
                                 ConfigValue::Object{{"minval", minval}, {"maxval", maxval}}, seed);
}
Initializer random_normal(double mean, double stddev, const Seed& seed) {
  return nn::make_random_normal("RandomNormal",
                                ConfigValue::Object{{"mean", mean}, {"stddev", stddev}}, seed);
}
Initializer truncated_normal(double mean, double stddev, const Seed& seed) {
  return nn::make_truncated_normal("TruncatedNormal",
                                   ConfigValue::Object{{"mean", mean}, {"stddev", stddev}}, seed);
}
Initializer variance_scaling(const VarianceScalingConfig& config) {
  constexpr std::array kModes = {"fan_in", "fan_out", "fan_avg"};
  constexpr std::array kDistributions = {"uniform", "truncated_normal", "untruncated_normal"};
  return nn::make_scaled(
      "VarianceScaling",
      ConfigValue::Object{
          {"scale", config.scale},
          {"mode", kModes.at(static_cast<std::size_t>(config.mode))},
          {"distribution", kDistributions.at(static_cast<std::size_t>(config.distribution))}},
      config.seed);
}
Initializer glorot_uniform(const Seed& seed) { return nn::make_scaled("GlorotUniform", {}, seed); }
Initializer glorot_normal(const Seed& seed) { return nn::make_scaled("GlorotNormal", {}, seed); }
Initializer he_uniform(const Seed& seed) { return nn::make_scaled("HeUniform", {}, seed); }
Initializer he_normal(const Seed& seed) { return nn::make_scaled("HeNormal", {}, seed); }
Initializer lecun_uniform(const Seed& seed) { return nn::make_scaled("LecunUniform", {}, seed); }
Initializer lecun_normal(const Seed& seed) { return nn::make_scaled("LecunNormal", {}, seed); }
Initializer orthogonal(double gain, const Seed& seed) {
  return nn::make_orthogonal("Orthogonal", ConfigValue::Object{{"gain", gain}}, seed);
}

}  // namespace initializers
}  // namespace grouphead
