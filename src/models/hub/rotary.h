#pragma once

// Rotary embedding by KerasHub's rules.

#include <optional>
#include <string>
#include <vector>

#include "grouphead/layers/layer.h"
#include "ops/rope.h"

namespace grouphead::models::hub {

/// Llama 3's change of long wavelengths.
struct FrequencyAdjustment {
  double factor = 1;
  double low = 1;
  double high = 4;
  double context = 8192;  ///< of the first training
};

/// Names and defaults are KerasHub's.
struct RotaryRule {
  double max_wavelength = 10000;
  double scaling_factor = 1;
  std::string rope_type = "linear";  ///< or dynamic, yarn; others scale nothing
  double beta_fast = 32;
  double beta_slow = 1;
  Index original_max_position_embeddings = 4096;
  bool truncate = true;
  std::optional<Index> denominator_dim{};
  std::optional<FrequencyAdjustment> adjustment{};
};

/// Errors: ConfigError, under the name `layer`, for values that are not finite and positive.
void check(std::string_view layer, const RotaryRule& rule);
/// Angle per position of each pair of a head. Errors: ShapeError for an odd size.
std::vector<double> frequencies(std::string_view layer, const RotaryRule& rule, Index dim);
/// Cosines and sines of these positions, in `policy`'s numbers.
ops::RopeTable table_of(std::string_view layer, const RotaryRule& rule,
                        const std::vector<Index>& positions, Index dim, const DtypePolicy& policy);

}  // namespace grouphead::models::hub
