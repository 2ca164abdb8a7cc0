#pragma once

#include <string_view>

namespace grouphead::nn {

/// The module of Keras that has an operation's class: numpy's where others have one of the name
/// too, and also for a name that no operation has, for make_operation() to refuse.
std::string_view module_of_operation(std::string_view class_name);

}  // namespace grouphead::nn
