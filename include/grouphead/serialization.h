#pragma once

#include <memory>
#include <string_view>

#include "grouphead/layer.h"

namespace grouphead {

/// A layer from Keras's class name and configuration, as get_config() writes it; keys that older
/// files lack take that version's meaning. Errors: ConfigError for an unknown class, an unknown key
/// or a value that the layer refuses. Source: keras.layers.deserialize.
std::shared_ptr<Layer> make_layer(std::string_view class_name, const ConfigValue& config);
/// The same from Keras's envelope {"class_name", "config", ...}.
std::shared_ptr<Layer> layer_from_config(const ConfigValue& envelope);
/// Keras's envelope of a layer.
ConfigValue layer_to_config(const Layer& layer);

}  // namespace grouphead
