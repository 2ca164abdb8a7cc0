#pragma once

#include <optional>
#include <vector>

#include "grouphead/core/tensor.h"

#pragma GCC visibility push(default)
namespace grouphead {

/// Which components of a head rotate together: i with i + D/2, or 2i with 2i + 1.
enum class RopeLayout : int { half, interleaved };

/// How YaRN goes from kept to interpolated frequencies; see docs of YarnConfig.
enum class YarnRamp : int { rotations, index, wavelength };

/// Context extension of rotary embedding. Pair i has wavelength w_i = 2 pi / theta_i and makes
/// r_i = C0 / w_i rotations in the original context C0.
///
/// rotations   linear in r_i between beta_slow and beta_fast (the paper's rule)
/// index       linear in the pair's index (the authors' code; what published checkpoints expect)
/// wavelength  linear in w_i between C0 / beta_fast and C0 / beta_slow (Edifice, with 1 and 4)
///
/// Source: Peng et al. 2023, arXiv:2309.00071.
struct YarnConfig {
  double scale = 8;                    ///< s >= 1: new context / original context
  Index original_max_position = 2048;  ///< C0
  YarnRamp ramp = YarnRamp::rotations;
  double beta_slow = 1;
  double beta_fast = 32;
  std::optional<double> mscale{};  ///< factor on cos and sin; absent: 0.1 ln s + 1
};

/// Rotary position embedding. Source: Su et al. 2021, arXiv:2104.09864.
struct RopeConfig {
  double base = 10000;
  RopeLayout layout = RopeLayout::half;
  std::optional<YarnConfig> yarn{};

  static RopeConfig edifice_yarn(double scale, Index original_max_position) {
    return {.yarn = YarnConfig{.scale = scale,
                               .original_max_position = original_max_position,
                               .ramp = YarnRamp::wavelength,
                               .beta_fast = 4,
                               .mscale = 1.0}};
  }
};

/// Angle per position, in radians, of each of the D/2 pairs of a head.
/// Errors: ConfigError for an odd head_dim or values out of range.
std::vector<double> rope_frequencies(Index head_dim, const RopeConfig& config);
/// The factor on cos and sin: YaRN's attention temperature, 1 without YaRN.
double rope_magnitude(const RopeConfig& config) noexcept;

}  // namespace grouphead
#pragma GCC visibility pop
