#pragma once

// The factories of the layers, each beside its layer: `make_NAME(config)` reads Keras's
// configuration with a ConfigReader. registry.cc lists them.

#include <memory>

#include "grouphead/layer.h"

namespace grouphead::nn {

using LayerFactory = std::shared_ptr<Layer> (*)(const ConfigValue& config);

}  // namespace grouphead::nn
