#pragma once

// What the losses' configurations share, and the tables of losses.

#include <array>
#include <memory>
#include <span>

#include "grouphead/train/losses.h"
#include "nn/config_reader.h"

namespace grouphead::train {

struct LossEntry {
  /// The class's name first, then those of Keras's functions; empty ones are none.
  std::array<std::string_view, 5> names;
  std::shared_ptr<const LossRule> (*make)(const ConfigValue& config);
};
/// The losses beside errors and cross entropies.
std::span<const LossEntry> other_losses();
/// Those of sequences and of sets of samples.
std::span<const LossEntry> set_losses();

/// Whether register_loss() was given this name, of a function.
bool is_own_function(std::string_view name);
/// Keras's envelope of a registered function.
ConfigValue function_envelope(const std::string& name);

Reduction reduction_of(nn::ConfigReader& reader);
/// Errors: ConfigError for an `axis` that is not the last.
void require_last_axis(nn::ConfigReader& reader, std::string_view operation = "loss");
/// Errors: ConfigError outside [0, 1].
void require_smoothing(std::string_view loss, double label_smoothing);

}  // namespace grouphead::train
