#pragma once

#include <nanobind/nanobind.h>

#include <memory>

#include "grouphead/train/callbacks.h"

namespace grouphead::python {

/// Callbacks for fit() and evaluate(): the library's own, and any Python object with Keras's
/// methods.
std::vector<std::shared_ptr<Callback>> callbacks_from(nanobind::handle callbacks);
nanobind::dict logs_to(const Logs& logs);

}  // namespace grouphead::python
