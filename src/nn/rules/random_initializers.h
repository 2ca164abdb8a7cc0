#pragma once

// The initializers that draw numbers, from a configuration (a `seed` in it is not read) and a seed.
// `class_name` is Keras's and outlives the rule.

#include <memory>

#include "grouphead/layers/initializers.h"

namespace grouphead::nn {

using MadeInitializer = std::shared_ptr<const InitializerRule>;

MadeInitializer make_random_uniform(std::string_view class_name, const ConfigValue& config,
                                    const Seed& seed);
MadeInitializer make_random_normal(std::string_view class_name, const ConfigValue& config,
                                   const Seed& seed);
MadeInitializer make_truncated_normal(std::string_view class_name, const ConfigValue& config,
                                      const Seed& seed);
/// VarianceScaling, and the six classes that fix its options.
MadeInitializer make_scaled(std::string_view class_name, const ConfigValue& config,
                            const Seed& seed);
MadeInitializer make_orthogonal(std::string_view class_name, const ConfigValue& config,
                                const Seed& seed);

}  // namespace grouphead::nn
