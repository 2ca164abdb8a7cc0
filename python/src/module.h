#pragma once

// The parts of the module `grouphead._core`, one function for each file.

#include <nanobind/nanobind.h>

namespace grouphead::python {

namespace nb = nanobind;

void define_attention(nb::module_& m);
void define_cache(nb::module_& m);
void define_jax(nb::module_& m);
void define_torch(nb::module_& m);
void define_models(nb::module_& m);

}  // namespace grouphead::python
