#pragma once

#include "grouphead/train/fit.h"

namespace grouphead::train {

/// Keras's compile_config for a model of so many outputs.
ConfigValue config_of(const CompileConfig& config, std::size_t num_outputs);

}  // namespace grouphead::train
