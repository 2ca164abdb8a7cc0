#pragma once

// The keys that every layer's configuration has: name, trainable, dtype, activity_regularizer.

#include "grouphead/layers/layer.h"
#include "nn/config_reader.h"

namespace grouphead::nn {

/// Into `config`, whose values stand for absent keys. `trainable` is for with_trainable().
template <class Config>
void read_base(ConfigReader& reader, Config& config) {
  config.name = reader.name(config.name);
  config.dtype = reader.dtype();
  config.activity_regularizer = reader.choice("activity_regularizer", config.activity_regularizer);
  reader.trainable();
}

/// `layer`, trainable as the configuration says.
template <class L>
std::shared_ptr<Layer> with_trainable(std::shared_ptr<L> layer, const ConfigValue& config) {
  layer->set_trainable(ConfigReader(layer->class_name(), config).trainable());
  return layer;
}

}  // namespace grouphead::nn
