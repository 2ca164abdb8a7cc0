#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <typeindex>
#include <vector>

#include "grouphead/layers/layer.h"

#pragma GCC visibility push(default)
namespace grouphead {

namespace detail {
using LayerMaker = std::function<std::shared_ptr<Layer>(const ConfigValue& config)>;
void register_layer(const std::string& name, std::type_index type, LayerMaker make);
}  // namespace detail

/// Makes a class of yours known under a name `package>Class`, so that models which contain it can
/// be loaded and copied, and are written with this name, as Keras writes the class that
/// `keras.saving.register_keras_serializable(package=...)` decorates. The class has
///
///     static std::shared_ptr<Layer> from_config(const ConfigValue& config);  // what get_config()
///     gave
///
/// Call it once, before the first file is read; a second call for the same class changes nothing.
/// Errors: ConfigError for a name of another form, or that another class has.
/// Threads: safe.
template <class L>
void register_layer(const std::string& name) {
  static_assert(std::is_base_of_v<Layer, L>);
  detail::register_layer(name, typeid(L), [](const ConfigValue& config) -> std::shared_ptr<Layer> {
    return L::from_config(config);
  });
}

/// A layer from Keras's class name, or a name that register_layer() was given, and configuration,
/// as get_config() writes it; keys that older files lack take that version's meaning.
/// Errors: ConfigError for an unknown class, an unknown key or a value that the layer refuses.
/// Source: keras.layers.deserialize.
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
