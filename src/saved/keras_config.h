#pragma once

#include "grouphead/core/config_value.h"

namespace grouphead::saved {

/// A configuration from a file as this library's layers take it: int8 layers as the layers that
/// they were made from (their numbers are scaled when they are loaded), and classes under the names
/// that Keras exports, where a legacy file has those of Python.
ConfigValue plain_config(const ConfigValue& config);

}  // namespace grouphead::saved
