// The operations that Keras writes between the layers of a functional model.

#include "core/check.h"
#include "grouphead/serialization.h"

namespace grouphead {

std::shared_ptr<Layer> make_operation(std::string_view module, std::string_view class_name,
                                      const ConfigValue& /*config*/) {
  detail::throw_config_error("make_operation", "class_name", "an operation that this library has",
                             std::string(module).append(".").append(class_name));
}

}  // namespace grouphead
