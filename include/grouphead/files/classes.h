#pragma once

#include <filesystem>
#include <string>

#include "grouphead/core/config_value.h"

#pragma GCC visibility push(default)
namespace grouphead {

/// Makes a layer class of yours known without C++: it is a functional model. `name` is
/// `package>Class`, as Keras registers it; the definition is an object of
///
///   model       what `to_json()` of a functional (or sequential) model gives, parsed: the same
///               computation as the class's call(). A string "$units" in it stands for the layer's
///               option `units`, any value
///   attributes  the class's attribute for layers of the model, by their names, in the order of
///               its __init__: {"norm": "norms/layer_normalization"} for the first of a list
///               `self.norms`. A layer that is not named here has its own name for attribute
///   inputs      the arguments of the class's call(), where there are several; absent: one
///               argument, a tensor or a list of them
///
/// Weights are read from and written to the places that Keras's files have for such a class.
/// Variables that the class adds itself (add_weight) have no place here: write it in C++
/// (docs/own-layers.md). A second definition takes the first one's place. Threads: safe.
///
/// Errors: ConfigError for what is no definition, and for a name that register_layer() was given;
/// when a layer is made, for what its model refuses.
void register_class(const std::string& name, const ConfigValue& definition);

/// The same for all classes of a file: a JSON object of definitions by name. Errors: IoError for a
/// file that cannot be read; ConfigError.
void register_classes(const std::filesystem::path& file);

}  // namespace grouphead
#pragma GCC visibility pop
