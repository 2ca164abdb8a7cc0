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
  bool truncate = true;            ///< of an index ramp: its ends are whole numbers
};

/// Llama 3.1's context extension: pairs that rotate fewer than low_freq_factor times in the
/// original context are slowed down by `factor`, those of more than high_freq_factor rotations
/// stay, and between them the share of both is linear in the rotations.
/// Source: arXiv:2407.21783, and the authors' code.
struct Llama3RopeConfig {
  double factor = 8;                   ///< 1 or more
  double low_freq_factor = 1;          ///< above 0
  double high_freq_factor = 4;         ///< above low_freq_factor
  Index original_max_position = 8192;  ///< of the original context
};

/// Dynamic NTK scaling: for texts longer than max_position the base grows, by
/// (factor length / max_position - factor + 1)^(d / (d - 2)) for d rotated dims. `length` is that
/// of the whole text so far, so keys in a cache keep the angles of the time they were stored.
struct DynamicRopeConfig {
  double factor = 2;          ///< above 0
  Index max_position = 2048;  ///< texts up to here keep the base
};

/// LongRoPE: pair i is slowed down by a factor of its own, from one list for texts up to
/// original_max_position, else from the other. Source: Ding et al. 2024, arXiv:2402.13753.
struct LongRopeConfig {
  std::vector<double> short_factors{};  ///< one for each pair, above 0
  std::vector<double> long_factors{};
  Index original_max_position = 4096;
  double magnitude = 1;  ///< factor on cos and sin
};

/// Rotary position embedding. Source: Su et al. 2021, arXiv:2104.09864.
///
/// At most one of yarn, llama3, dynamic and longrope is given.
struct RopeConfig {
  double base = 10000;
  RopeLayout layout = RopeLayout::half;
  std::optional<YarnConfig> yarn{};
  /// R: the first R dims of a head rotate, the others stay. Absent: all. An odd R rotates R + 1, by
  /// the frequencies base^(-2 i / R), as transformers' GPT-NeoX does.
  std::optional<Index> rotary_dims{};
  double position_scale = 1;  ///< positions are divided by it
  std::optional<Llama3RopeConfig> llama3{};
  std::optional<DynamicRopeConfig> dynamic{};
  std::optional<LongRopeConfig> longrope{};

  static RopeConfig edifice_yarn(double scale, Index original_max_position) {
    return {.yarn = YarnConfig{.scale = scale,
                               .original_max_position = original_max_position,
                               .ramp = YarnRamp::wavelength,
                               .beta_fast = 4,
                               .mscale = 1.0}};
  }
};

/// Angle per position, in radians, of each of the D/2 pairs of a head (of its rotary_dims), in a
/// text of `length` positions, which matters to the rules `dynamic` and `longrope` alone.
/// Errors: ConfigError for an odd head_dim or values out of range.
std::vector<double> rope_frequencies(Index head_dim, const RopeConfig& config, Index length = 0);
/// The factor on cos and sin: that of YaRN or LongRoPE, else 1.
double rope_magnitude(const RopeConfig& config) noexcept;

}  // namespace grouphead
#pragma GCC visibility pop
