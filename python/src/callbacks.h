#pragma once

#include <nanobind/nanobind.h>

#include <atomic>
#include <memory>
#include <vector>

#include "grouphead/train/callbacks.h"

namespace grouphead::python {

/// Callbacks for fit() and evaluate(): the library's own, and any Python object with Keras's
/// methods. KeyboardInterrupt in one of these sets `stop`, where there is one.
std::vector<std::shared_ptr<Callback>> callbacks_from(nanobind::handle callbacks,
                                                      std::atomic<bool>* stop = nullptr);
nanobind::dict logs_to(const Logs& logs);

}  // namespace grouphead::python
