// Layers that learn from data before a model trains: vocabularies, means and variances.

#include "grouphead/layers/lookup.h"

#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "computing.h"
#include "grouphead/layers/preprocessing.h"
#include "model_arrays.h"
#include "models.h"

namespace grouphead::python {
namespace {

/// body(held) for one of the classes with a vocabulary. Errors: std::bad_cast.
template <class Body>
auto with_lookup(Layer& layer, const Body& body) {
  if (auto* texts = dynamic_cast<TextVectorization*>(&layer)) return body(*texts);
  if (auto* words = dynamic_cast<StringLookup*>(&layer)) return body(*words);
  return body(dynamic_cast<IntegerLookup&>(layer));
}

void adapt(Layer& layer, nb::handle data) {
  const Tensor x = tensor_from(data);
  const Computing computing;
  if (auto* const lookup = dynamic_cast<LookupLayer*>(&layer)) {
    return lookup->adapt(computing.context(), x);
  }
  dynamic_cast<Normalization&>(layer).adapt(computing.context(), x);
}

void set_vocabulary(Layer& layer, nb::handle tokens, const std::vector<double>& idf_weights) {
  with_lookup(layer, [&](auto& held) {
    auto list = nb::cast<decltype(held.vocabulary())>(tokens);
    const Computing computing;
    held.set_vocabulary(std::move(list), idf_weights);
  });
}

}  // namespace

void define_lookups(nb::module_& m) {
  m.def("adapt", adapt);
  m.def("vocabulary", [](Layer& layer) {
    return with_lookup(layer, [](const auto& held) { return nb::cast(held.vocabulary()); });
  });
  m.def("set_vocabulary", set_vocabulary);
}

}  // namespace grouphead::python
