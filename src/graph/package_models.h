#pragma once

// Models of packages around Keras, which have classes and configurations of their own. They are
// made in models/hub/.

#include "grouphead/models/model.h"

namespace grouphead::graph {

/// Whether an envelope names one: `keras_hub>LlamaBackbone`.
bool is_package_model(const ConfigValue& envelope);
/// It, with new parameters from `seed`. Errors: ConfigError.
std::shared_ptr<Model> make_package_model(const ConfigValue& envelope, std::uint64_t seed);

/// As the end of a model, and only there, Keras counts the calls of functional models from 1: these
/// and its own.
inline bool counts_calls_from_1(const Layer& layer) {
  return dynamic_cast<const Model*>(&layer) != nullptr && layer.class_name() != "Sequential";
}

}  // namespace grouphead::graph
