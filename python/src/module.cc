// The module `grouphead._core`: errors, threads, and what the other files define.

#include "module.h"

#include <nanobind/typing.h>

#include "contexts.h"
#include "grouphead/core/error.h"
#include "grouphead/core/version.h"

namespace grouphead::python {
namespace {

// The library's errors are also Python's ValueError, and OSError for files.
void define_errors(nb::module_& m) {
  // Of these Python's exception is the last one defined that fits.
  const nb::object error = nb::exception<Error>(m, "Error");
  const auto both = [&](PyObject* standard) { return nb::make_tuple(error, nb::handle(standard)); };
  nb::exception<ConfigError>(m, "ConfigError", both(PyExc_ValueError));
  nb::exception<ShapeError>(m, "ShapeError", both(PyExc_ValueError));
  nb::exception<IoError>(m, "IoError", both(PyExc_OSError));
}

void define_threads(nb::module_& m) {
  m.def("set_num_threads", &set_num_threads, nb::arg("num_threads"),
        "Sets the threads of the calls to come; 0: one for each core.\n\n"
        "Results are bitwise identical for any number. Raises ConfigError below 0.");
  m.def("num_threads", &num_threads, "The threads that a call runs on.");
}

}  // namespace
}  // namespace grouphead::python

NB_MODULE(_core, m) {
  using namespace grouphead::python;  // NOLINT(google-build-using-namespace)
  m.attr("__version__") = GROUPHEAD_VERSION;
  m.attr("Array") = nb::type_var("Array");
  define_errors(m);
  define_threads(m);
  define_attention(m);
  define_cache(m);
  define_jax(m);
  define_torch(m);
  define_models(m);
}
