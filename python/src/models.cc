#include "models.h"

#include <exception>
#include <typeinfo>

#include "module.h"

namespace grouphead::python {

void define_models(nb::module_& core) {
  nb::module_ m = core.def_submodule("models");
  nb::register_exception_translator([](const std::exception_ptr& thrown, void*) {
    try {
      std::rethrow_exception(thrown);
    } catch (const std::bad_cast&) {
      PyErr_SetString(PyExc_TypeError, "an argument, or an entry of one, has another type");
    }
  });
  define_rules(m);
  define_layers(m);
  define_lookups(m);
  define_callbacks(m);
  define_training(m);
  define_files(m);
  define_generation(m);
  define_text(m);
}

}  // namespace grouphead::python
