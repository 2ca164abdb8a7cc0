#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "grouphead/layers/layer.h"

namespace grouphead::graph {

/// What Keras calls a layer that is given no name: its class in snake case.
std::string default_name(std::string_view class_name);

/// Numbers the layers that bear their class's name, in this order: `dense`, `dense_1`, ...
/// Errors: ConfigError for two others of one name.
void name_layers(std::string_view model, const std::vector<Layer*>& layers);

}  // namespace grouphead::graph
