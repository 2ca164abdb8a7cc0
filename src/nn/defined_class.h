#pragma once

// Layers whose classes are data.

#include <string>

#include "grouphead/layers/serialization.h"

namespace grouphead::nn {

/// One of them: it knows the name that files register its class by.
class HasRegisteredName {
 public:
  virtual const std::string& registered_name() const = 0;

 protected:
  ~HasRegisteredName() = default;
};
/// Makes such a class known. Errors: ConfigError, as register_layer().
void define_layer(const std::string& name, detail::LayerMaker make);

}  // namespace grouphead::nn
