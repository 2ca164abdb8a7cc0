#pragma once

#include <string_view>

#include "grouphead/core/tensor.h"

namespace grouphead::core {

/// Keras's name of an element type: `float32`, `int32`, `bool`, ...
std::string_view keras_name(Dtype dtype) noexcept;
/// Errors: ConfigError that lists the known names.
Dtype dtype_from_keras(std::string_view name);

}  // namespace grouphead::core
