#include "nn/rules/random_initializers.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <vector>

#include "core/number_text.h"
#include "nn/rules/rule.h"
#include "ops/convert.h"
#include "ops/random_fill.h"

namespace grouphead::nn {
namespace {

/// A rule with a seed; its configuration begins with the seed, as Keras's does.
class RandomRule : public NamedRule<InitializerRule> {
 protected:
  RandomRule(RuleReader& reader, Seed seed)
      : NamedRule(reader.class_name()), seed_(std::move(seed)) {
    reader.value("seed", seed_.config());
  }
  const Seed& seed() const noexcept { return seed_; }

 private:
  Seed seed_;
};

class RandomUniformRule final : public RandomRule {
 public:
  RandomUniformRule(RuleReader&& reader, const Seed& seed)
      : RandomRule(reader, seed),
        minval_(reader.number("minval", -0.05)),
        maxval_(reader.number("maxval", 0.05)) {
    config_ = reader.finish();
  }
  void fill(View w, const Fans& /*fans*/, RandomStream& random) const override {
    ops::fill_uniform(w, minval_, maxval_, seed().next(random));
  }

 private:
  double minval_, maxval_;
};

/// RandomNormal and TruncatedNormal.
template <bool kTruncated>
class NormalRule final : public RandomRule {
 public:
  NormalRule(RuleReader&& reader, const Seed& seed)
      : RandomRule(reader, seed),
        mean_(reader.number("mean", 0)),
        stddev_(reader.number("stddev", 0.05)) {
    config_ = reader.finish();
  }
  void fill(View w, const Fans& /*fans*/, RandomStream& random) const override {
    const RandomKey key = seed().next(random);
    kTruncated ? ops::fill_truncated_normal(w, mean_, stddev_, key)
               : ops::fill_normal(w, mean_, stddev_, key);
  }

 private:
  double mean_, stddev_;
};

using initializers::FanMode;
using Distribution = initializers::ScalingDistribution;

FanMode fan_mode(std::string_view class_name, const std::string& name) {
  if (name == "fan_in") return FanMode::fan_in;
  if (name == "fan_out") return FanMode::fan_out;
  if (name == "fan_avg") return FanMode::fan_avg;
  core::throw_config_error(class_name, "mode", "fan_in, fan_out or fan_avg", name);
}

/// Keras's name of a distribution: any case, and `normal` for `truncated_normal`.
std::string distribution_name(std::string name) {
  for (char& c : name) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return name == "normal" ? "truncated_normal" : name;
}

Distribution distribution(std::string_view class_name, const std::string& name) {
  if (name == "uniform") return Distribution::uniform;
  if (name == "truncated_normal") return Distribution::truncated_normal;
  if (name == "untruncated_normal") return Distribution::untruncated_normal;
  core::throw_config_error(class_name, "distribution",
                           "uniform, truncated_normal or untruncated_normal", name);
}

struct Scaling {
  double scale = 1;
  FanMode mode = FanMode::fan_in;
  Distribution distribution = Distribution::truncated_normal;
};

/// VarianceScaling and the classes that fix its options.
class ScalingRule final : public RandomRule {
 public:
  ScalingRule(RuleReader&& reader, const Seed& seed, const Scaling* fixed)
      : RandomRule(reader, seed), scaling_(fixed ? *fixed : read_scaling(reader)) {
    input_axes_ = read_axes(reader, "input_axes");
    output_axes_ = read_axes(reader, "output_axes");
    config_ = reader.finish();
    if (!fixed)
      config_.set("distribution",
                  distribution_name(config_["distribution"].as_string("distribution")));
  }

  void fill(View w, const Fans& fans, RandomStream& random) const override {
    const RandomKey key = seed().next(random);
    const double variance = scaling_.scale / std::max(1.0, fan(w.shape(), fans));
    // Of a standard normal number within (-2, 2).
    constexpr double kTruncatedDeviation = 0.87962566103423978;
    switch (scaling_.distribution) {
      case Distribution::uniform:
        return ops::fill_uniform(w, -std::sqrt(3 * variance), std::sqrt(3 * variance), key);
      case Distribution::truncated_normal:
        return ops::fill_truncated_normal(w, 0, std::sqrt(variance) / kTruncatedDeviation, key);
      case Distribution::untruncated_normal:
        return ops::fill_normal(w, 0, std::sqrt(variance), key);
    }
  }

 private:
  using Axes = std::optional<std::vector<Index>>;

  static Scaling read_scaling(RuleReader& reader) {
    Scaling scaling;
    scaling.scale = reader.number("scale", 1);
    if (!(scaling.scale > 0)) {
      core::throw_config_error(reader.class_name(), "scale", "more than 0",
                               core::number_text(scaling.scale));
    }
    scaling.mode = fan_mode(reader.class_name(), reader.value("mode", "fan_in").as_string("mode"));
    const ConfigValue& name = reader.value("distribution", "truncated_normal");
    scaling.distribution =
        distribution(reader.class_name(), distribution_name(name.as_string("distribution")));
    return scaling;
  }

  static Axes read_axes(RuleReader& reader, std::string_view key) {
    const ConfigValue& held = reader.value(key, nullptr);
    if (held.is_null()) return {};
    std::vector<Index> axes;
    for (const ConfigValue& axis : held.as_list(key)) axes.push_back(axis.as_integer(key));
    return axes;
  }

  Index product(const Shape& shape, const std::vector<Index>& axes) const {
    Index size = 1;
    for (const Index axis : axes) {
      const Index place = axis < 0 ? axis + shape.rank() : axis;
      if (place < 0 || place >= shape.rank()) {
        core::throw_shape_error(class_name(), "w", "axis " + std::to_string(axis),
                                shape.to_string());
      }
      size *= shape[static_cast<int>(place)];
    }
    return size;
  }

  double fan(const Shape& shape, Fans fans) const {
    if (input_axes_ && output_axes_) {
      fans = {product(shape, *input_axes_), product(shape, *output_axes_)};
    }
    switch (scaling_.mode) {
      case FanMode::fan_in:
        return static_cast<double>(fans.in);
      case FanMode::fan_out:
        return static_cast<double>(fans.out);
      case FanMode::fan_avg:
        break;
    }
    return static_cast<double>(fans.in + fans.out) / 2;
  }

  Scaling scaling_;
  Axes input_axes_, output_axes_;  // count only where both are given
};

class OrthogonalRule final : public RandomRule {
 public:
  OrthogonalRule(RuleReader&& reader, const Seed& seed)
      : RandomRule(reader, seed), gain_(reader.number("gain", 1)) {
    config_ = reader.finish();
  }
  void fill(View w, const Fans& /*fans*/, RandomStream& random) const override {
    if (w.rank() < 2) {
      core::throw_shape_error(class_name(), "w", "rank 2 or more", w.shape().to_string());
    }
    const Index columns = w.shape().back();
    Tensor q({columns > 0 ? w.size() / columns : 0, columns});
    ops::fill_orthogonal(q, seed().next(random));
    for (Index i = 0; i < q.size(); ++i) q.data<float>()[i] *= static_cast<float>(gain_);
    ops::convert_rounded(q, w.dtype(), w);
  }

 private:
  double gain_;
};

/// The options that a class of its own name has; null for VarianceScaling.
const Scaling* fixed_scaling(std::string_view class_name) noexcept {
  struct Entry {
    std::string_view class_name;
    Scaling scaling;
  };
  static constexpr Entry kEntries[] = {
      {"GlorotNormal", {1, FanMode::fan_avg, Distribution::truncated_normal}},
      {"GlorotUniform", {1, FanMode::fan_avg, Distribution::uniform}},
      {"HeNormal", {2, FanMode::fan_in, Distribution::truncated_normal}},
      {"HeUniform", {2, FanMode::fan_in, Distribution::uniform}},
      {"LecunNormal", {1, FanMode::fan_in, Distribution::truncated_normal}},
      {"LecunUniform", {1, FanMode::fan_in, Distribution::uniform}},
  };
  for (const Entry& entry : kEntries) {
    if (entry.class_name == class_name) return &entry.scaling;
  }
  return nullptr;
}

}  // namespace

MadeInitializer make_random_uniform(std::string_view class_name, const ConfigValue& config,
                                    const Seed& seed) {
  return std::make_shared<RandomUniformRule>(RuleReader(class_name, config), seed);
}

MadeInitializer make_random_normal(std::string_view class_name, const ConfigValue& config,
                                   const Seed& seed) {
  return std::make_shared<NormalRule<false>>(RuleReader(class_name, config), seed);
}

MadeInitializer make_truncated_normal(std::string_view class_name, const ConfigValue& config,
                                      const Seed& seed) {
  return std::make_shared<NormalRule<true>>(RuleReader(class_name, config), seed);
}

MadeInitializer make_scaled(std::string_view class_name, const ConfigValue& config,
                            const Seed& seed) {
  return std::make_shared<ScalingRule>(RuleReader(class_name, config), seed,
                                       fixed_scaling(class_name));
}

MadeInitializer make_orthogonal(std::string_view class_name, const ConfigValue& config,
                                const Seed& seed) {
  return std::make_shared<OrthogonalRule>(RuleReader(class_name, config), seed);
}

}  // namespace grouphead::nn
