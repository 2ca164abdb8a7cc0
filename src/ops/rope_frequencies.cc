#include <algorithm>
#include <cmath>
#include <numbers>
#include <string>

#include "core/check.h"
#include "core/number_text.h"
#include "grouphead/layers/rope.h"

namespace grouphead {
namespace {

void require(bool valid, std::string_view option, std::string_view expected, double got) {
  if (!valid) core::throw_config_error("rope", option, expected, core::number_text(got));
}

void require_positive(std::string_view option, double value) {
  require(std::isfinite(value) && value > 0, option, "a positive number", value);
}

void check(const YarnConfig& yarn, double base) {
  require(std::isfinite(yarn.scale) && yarn.scale >= 1, "scale", "1 or more", yarn.scale);
  require(yarn.original_max_position >= 1, "original_max_position", "1 or more",
          static_cast<double>(yarn.original_max_position));
  require_positive("beta_slow", yarn.beta_slow);
  require(std::isfinite(yarn.beta_fast) && yarn.beta_fast > yarn.beta_slow, "beta_fast",
          "more than beta_slow", yarn.beta_fast);
  require(yarn.ramp != YarnRamp::index || base > 1, "base", "more than 1 for an index ramp", base);
  require_positive("mscale", yarn.mscale.value_or(1));
}

void check(const Llama3RopeConfig& rule) {
  require(std::isfinite(rule.factor) && rule.factor >= 1, "factor", "1 or more", rule.factor);
  require_positive("low_freq_factor", rule.low_freq_factor);
  require(std::isfinite(rule.high_freq_factor) && rule.high_freq_factor > rule.low_freq_factor,
          "high_freq_factor", "more than low_freq_factor", rule.high_freq_factor);
  require(rule.original_max_position >= 1, "original_max_position", "1 or more",
          static_cast<double>(rule.original_max_position));
}

void check(const LongRopeConfig& rule, Index pairs) {
  for (const std::vector<double>* factors : {&rule.short_factors, &rule.long_factors}) {
    require(static_cast<Index>(factors->size()) == pairs, "factors",
            std::to_string(pairs) + ", one for each pair", static_cast<double>(factors->size()));
    for (const double factor : *factors) require_positive("factors", factor);
  }
  require_positive("magnitude", rule.magnitude);
}

// What frequencies are counted in: the dims that rotate, or one less.
Index checked_dims(Index head_dim, const RopeConfig& config) {
  const Index dims = config.rotary_dims.value_or(head_dim);
  if (config.rotary_dims) {
    require(dims >= 2 && dims + dims % 2 <= head_dim, "rotary_dims",
            "2 to head_dim = " + std::to_string(head_dim), static_cast<double>(dims));
  } else {
    require(dims >= 2 && dims % 2 == 0, "head_dim", "an even number of 2 or more",
            static_cast<double>(dims));
  }
  require_positive("base", config.base);
  require_positive("position_scale", config.position_scale);
  const int rules =
      static_cast<int>(config.yarn.has_value()) + static_cast<int>(config.llama3.has_value()) +
      static_cast<int>(config.dynamic.has_value()) + static_cast<int>(config.longrope.has_value());
  require(rules <= 1, "rules", "one of yarn, llama3, dynamic and longrope", rules);
  if (config.yarn) check(*config.yarn, config.base);
  if (config.llama3) check(*config.llama3);
  if (config.longrope) check(*config.longrope, (dims + 1) / 2);
  if (config.dynamic) {
    require_positive("factor", config.dynamic->factor);
    require(config.dynamic->max_position >= 1, "max_position", "1 or more",
            static_cast<double>(config.dynamic->max_position));
    require(dims > 2, "rotary_dims", "more than 2 for a dynamic base", static_cast<double>(dims));
  }
  return dims;
}

double clip(double x) { return std::clamp(x, 0.0, 1.0); }

// Bounds of the index ramp: the pairs that make beta_fast and beta_slow rotations in C0.
struct IndexBounds {
  double low;
  double high;
};
IndexBounds index_bounds(Index head_dim, double base, const YarnConfig& yarn) {
  const auto pair_of = [&](double rotations) {
    return static_cast<double>(head_dim) *
           std::log(static_cast<double>(yarn.original_max_position) /
                    (2 * std::numbers::pi * rotations)) /
           (2 * std::log(base));
  };
  const auto last = static_cast<double>(head_dim - 1);
  const double fast = pair_of(yarn.beta_fast);
  const double slow = pair_of(yarn.beta_slow);
  const double low = std::max(yarn.truncate ? std::floor(fast) : fast, 0.0);
  const double high = std::min(yarn.truncate ? std::ceil(slow) : slow, last);
  return {low, high == low ? high + 0.001 : high};
}

// Share of the interpolated frequency theta / s in pair i: 0 keeps theta.
double interpolation(Index i, double theta, const IndexBounds& bounds, const YarnConfig& yarn) {
  const auto context = static_cast<double>(yarn.original_max_position);
  const double wavelength = 2 * std::numbers::pi / theta;
  switch (yarn.ramp) {
    case YarnRamp::rotations:
      return 1 - clip((context / wavelength - yarn.beta_slow) / (yarn.beta_fast - yarn.beta_slow));
    case YarnRamp::index:
      return clip((static_cast<double>(i) - bounds.low) / (bounds.high - bounds.low));
    case YarnRamp::wavelength: {
      const double shortest = context / yarn.beta_fast;
      const double longest = context / yarn.beta_slow;
      return clip((wavelength - shortest) / (longest - shortest));
    }
  }
  return 0;
}

// What Llama 3's rule makes of a frequency.
double slowed_down(double theta, const Llama3RopeConfig& rule) {
  const double rotations =
      static_cast<double>(rule.original_max_position) * theta / (2 * std::numbers::pi);
  const double kept =
      clip((rotations - rule.low_freq_factor) / (rule.high_freq_factor - rule.low_freq_factor));
  return (1 - kept) * theta / rule.factor + kept * theta;
}

double base_of(const RopeConfig& config, Index dims, Index length) {
  if (!config.dynamic || length <= config.dynamic->max_position) return config.base;
  const double factor = config.dynamic->factor;
  const double growth =
      factor * static_cast<double>(length) / static_cast<double>(config.dynamic->max_position) -
      (factor - 1);
  return config.base * std::pow(growth, static_cast<double>(dims) / static_cast<double>(dims - 2));
}

}  // namespace

std::vector<double> rope_frequencies(Index head_dim, const RopeConfig& config, Index length) {
  const Index dims = checked_dims(head_dim, config);
  std::vector<double> frequencies(static_cast<std::size_t>((dims + 1) / 2));
  const double base = base_of(config, dims, length);
  const IndexBounds bounds =
      config.yarn ? index_bounds(dims, base, *config.yarn) : IndexBounds{0, 1};
  for (Index i = 0; 2 * i < dims; ++i) {
    const auto pair = static_cast<std::size_t>(i);
    double theta = std::pow(base, -2 * static_cast<double>(i) / static_cast<double>(dims));
    if (config.yarn) {
      const double share = interpolation(i, theta, bounds, *config.yarn);
      theta = share * theta / config.yarn->scale + (1 - share) * theta;
    }
    if (config.llama3) theta = slowed_down(theta, *config.llama3);
    if (config.longrope) {
      const LongRopeConfig& rule = *config.longrope;
      const bool is_long = length > rule.original_max_position;
      theta /= (is_long ? rule.long_factors : rule.short_factors)[pair];
    }
    frequencies[pair] = theta / config.position_scale;
  }
  return frequencies;
}

double rope_magnitude(const RopeConfig& config) noexcept {
  if (config.longrope) return config.longrope->magnitude;
  if (!config.yarn) return 1;
  return config.yarn->mscale.value_or(0.1 * std::log(config.yarn->scale) + 1);
}

}  // namespace grouphead
