#pragma once

// Tensors of fixed numbers in Keras's files: {"value": nested lists, "dtype": "bool"}.

#include "grouphead/core/config_value.h"

namespace grouphead::nn {

/// Keras's envelope of a NumPy array.
ConfigValue constant_to_config(const Tensor& tensor);
/// From its "config"; integers that tensors do not have are widened (int8, int16 and uint16 to i32,
/// uint32 and uint64 to i64). Errors: ConfigError for ragged lists, other types, and values that
/// the type does not have.
Tensor constant_from_config(const ConfigValue& config);

/// Whether this is a nested list of bools or numbers, as Keras's files have a Python list that a
/// layer was called with.
bool is_nested_list(const ConfigValue& value);
/// Such a list as Keras makes a tensor of it: bool, i32, or f32 where a value is a fraction.
/// Errors: as constant_from_config().
Tensor constant_from_list(const ConfigValue& value);

}  // namespace grouphead::nn
