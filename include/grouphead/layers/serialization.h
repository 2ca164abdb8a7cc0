#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "grouphead/layers/layer.h"

#pragma GCC visibility push(default)
namespace grouphead {

/// A layer from Keras's class name and configuration, as get_config() writes it; keys that older
/// files lack take that version's meaning. Errors: ConfigError for an unknown class, an unknown key
/// or a value that the layer refuses. Source: keras.layers.deserialize.
std::shared_ptr<Layer> make_layer(std::string_view class_name, const ConfigValue& config);
/// The class names that make_layer() knows, in the order of the alphabet.
std::vector<std::string_view> layer_class_names();
/// An operation that Keras writes between the layers of a functional model, such as `NotEqual` of
/// `ids != 0`, from its module (`keras.src.ops.numpy`), class and configuration. A key
/// "dtype_policy" in it is ours: "float64" for gradients in f64, else they are f32. Results have
/// the types that Keras's rules give.
///
/// Operands stand in the order of Keras's call, absent where the call has a literal; literals and
/// keywords come by arguments_from_config({"args": [null for a tensor, else the literal], ...}).
/// Operations on a list of tensors have its tensors as operands.
/// Errors: ConfigError for an operation that this library does not have.
std::shared_ptr<Layer> make_operation(std::string_view module, std::string_view class_name,
                                      const ConfigValue& config);
/// A layer or an operation from Keras's envelope {"module", "class_name", "config", ...}.
std::shared_ptr<Layer> layer_from_config(const ConfigValue& envelope);
/// Whether layer_from_config() knows the class of the envelope.
bool has_layer(const ConfigValue& envelope);
/// Keras's envelope of a layer.
ConfigValue layer_to_config(const Layer& layer);

}  // namespace grouphead
#pragma GCC visibility pop
