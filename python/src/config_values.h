#pragma once

#include <nanobind/nanobind.h>

#include "grouphead/core/config_value.h"

namespace grouphead::python {

/// None, bool, int, float, str, list, tuple and dict with keys of str, and what behaves like one of
/// these (NumPy's numbers). Errors: TypeError.
ConfigValue config_from(nanobind::handle object);
/// As json.loads() would give it.
nanobind::object config_to(const ConfigValue& value);

}  // namespace grouphead::python
