#pragma once

// The parts of `grouphead._core.models`, which the Python classes of models are made of: one
// function for each file.

#include <nanobind/nanobind.h>

namespace grouphead::python {

namespace nb = nanobind;

void define_rules(nb::module_& m);
void define_layers(nb::module_& m);
void define_lookups(nb::module_& m);
void define_callbacks(nb::module_& m);
void define_training(nb::module_& m);
void define_files(nb::module_& m);
void define_generation(nb::module_& m);
void define_text(nb::module_& m);

}  // namespace grouphead::python
