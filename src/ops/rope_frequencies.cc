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
  if (!valid) detail::throw_config_error("rope", option, expected, detail::number_text(got));
}

void check(Index head_dim, const RopeConfig& config) {
  require(head_dim >= 2 && head_dim % 2 == 0, "head_dim", "an even number of 2 or more",
          static_cast<double>(head_dim));
  require(std::isfinite(config.base) && config.base > 0, "base", "a positive number", config.base);
  if (!config.yarn) return;
  const YarnConfig& yarn = *config.yarn;
  require(std::isfinite(yarn.scale) && yarn.scale >= 1, "scale", "1 or more", yarn.scale);
  require(yarn.original_max_position >= 1, "original_max_position", "1 or more",
          static_cast<double>(yarn.original_max_position));
  require(std::isfinite(yarn.beta_slow) && yarn.beta_slow > 0, "beta_slow", "a positive number",
          yarn.beta_slow);
  require(std::isfinite(yarn.beta_fast) && yarn.beta_fast > yarn.beta_slow, "beta_fast",
          "more than beta_slow", yarn.beta_fast);
  require(yarn.ramp != YarnRamp::index || config.base > 1, "base", "more than 1 for an index ramp",
          config.base);
  const double mscale = yarn.mscale.value_or(1);
  require(std::isfinite(mscale) && mscale > 0, "mscale", "a positive number", mscale);
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
  const double low = std::clamp(std::floor(pair_of(yarn.beta_fast)), 0.0, last);
  const double high = std::clamp(std::ceil(pair_of(yarn.beta_slow)), 0.0, last);
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

}  // namespace

std::vector<double> rope_frequencies(Index head_dim, const RopeConfig& config) {
  check(head_dim, config);
  std::vector<double> frequencies(static_cast<std::size_t>(head_dim / 2));
  const IndexBounds bounds =
      config.yarn ? index_bounds(head_dim, config.base, *config.yarn) : IndexBounds{0, 1};
  for (Index i = 0; i < head_dim / 2; ++i) {
    double theta =
        std::pow(config.base, -2 * static_cast<double>(i) / static_cast<double>(head_dim));
    if (config.yarn) {
      const double share = interpolation(i, theta, bounds, *config.yarn);
      theta = share * theta / config.yarn->scale + (1 - share) * theta;
    }
    frequencies[static_cast<std::size_t>(i)] = theta;
  }
  return frequencies;
}

double rope_magnitude(const RopeConfig& config) noexcept {
  if (!config.yarn) return 1;
  return config.yarn->mscale.value_or(0.1 * std::log(config.yarn->scale) + 1);
}

}  // namespace grouphead
