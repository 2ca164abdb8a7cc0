#pragma once

#include "grouphead/train/fit.h"

namespace grouphead::train {

/// Keras's compile_config for a model of so many outputs; by their keys where there are any.
ConfigValue config_of(const CompileConfig& config, std::size_t num_outputs,
                      const std::vector<std::string>& output_keys);

}  // namespace grouphead::train
