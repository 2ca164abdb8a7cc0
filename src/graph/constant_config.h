#pragma once

// Tensors of fixed numbers in Keras's files: {"value": nested lists, "dtype": "bool"}.

#include "grouphead/core/config_value.h"

namespace grouphead::detail {

/// Keras's envelope of a NumPy array.
ConfigValue constant_to_config(const Tensor& tensor);
/// From its "config". Errors: ConfigError for ragged lists and other types.
Tensor constant_from_config(const ConfigValue& config);

}  // namespace grouphead::detail
