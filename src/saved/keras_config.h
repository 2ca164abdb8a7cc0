#pragma once

#include "grouphead/core/config_value.h"

namespace grouphead::saved {

/// A configuration from a file as this library's layers take it: classes under the names that Keras
/// exports, where a legacy file has those of Python, and no LoRA where it is merged.
ConfigValue plain_config(const ConfigValue& config);

}  // namespace grouphead::saved
