#pragma once

#include "grouphead/layers/layer.h"

namespace grouphead::nn {

/// A layer from the envelope that a wrapper's configuration has under `key`.
/// Errors: ConfigError where there is none, and for wrappers inside each other without end.
std::shared_ptr<Layer> nested_layer(std::string_view wrapper, std::string_view key,
                                    const ConfigValue& envelope);

}  // namespace grouphead::nn
