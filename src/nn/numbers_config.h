#pragma once

#include "grouphead/core/config_value.h"

namespace grouphead::nn {

/// A number, nested lists of numbers, or Keras's envelope of an array, as f64.
/// Errors: ConfigError for other values, and for lists of different lengths.
Tensor numbers_from_config(std::string_view layer, std::string_view key, const ConfigValue& value);

}  // namespace grouphead::nn
