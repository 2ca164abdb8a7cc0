// Layers that learn from data before a model trains: vocabularies, means and variances.

#include <span>

#include "entries.h"
#include "grouphead/layers/lookup.h"
#include "grouphead/layers/preprocessing.h"
#include "handles.h"
#include "values.h"

namespace gr {
namespace {

/// body(held) for one of the three classes.
template <class Body>
SEXP with_lookup(SEXP layer, Body&& body) {
  gh::Layer* held = layer_of(layer, "object").get();
  if (auto* words = dynamic_cast<gh::StringLookup*>(held)) return body(*words);
  if (auto* texts = dynamic_cast<gh::TextVectorization*>(held)) return body(*texts);
  if (auto* numbers = dynamic_cast<gh::IntegerLookup*>(held)) return body(*numbers);
  refuse("object", "a layer with a vocabulary", layer);
}

std::vector<double> numbers_of(SEXP values, const char* what) {
  std::vector<double> numbers;
  if (Rf_isNull(values)) return numbers;
  const gh::Tensor tensor = to_tensor(values, what, gh::Dtype::f64);
  numbers.assign(tensor.data<double>(), tensor.data<double>() + tensor.size());
  return numbers;
}

std::vector<std::int64_t> integers_of(SEXP values, const char* what) {
  const gh::Tensor tensor = to_tensor(values, what, gh::Dtype::i64);
  return {tensor.data<std::int64_t>(), tensor.data<std::int64_t>() + tensor.size()};
}

SEXP vocabulary_of(const std::vector<std::string>& tokens) { return from_texts(tokens); }
SEXP vocabulary_of(const std::vector<std::int64_t>& tokens) {
  return from_tensor(gh::Tensor::from({static_cast<gh::Index>(tokens.size())},
                                      std::span<const std::int64_t>(tokens)));
}

}  // namespace
}  // namespace gr

using namespace gr;

SEXP gr_vocabulary(SEXP layer) {
  BEGIN_CPP11
  return with_lookup(layer, [](const auto& held) { return vocabulary_of(held.vocabulary()); });
  END_CPP11
}

SEXP gr_set_vocabulary(SEXP layer, SEXP tokens, SEXP idf_weights) {
  BEGIN_CPP11
  const std::vector<double> weights = numbers_of(idf_weights, "idf_weights");
  return with_lookup(layer, [&](auto& held) {
    if constexpr (requires { held.set_vocabulary(std::vector<std::string>()); }) {
      held.set_vocabulary(to_texts(tokens, "vocabulary"), weights);
    } else {
      held.set_vocabulary(integers_of(tokens, "vocabulary"), weights);
    }
    return R_NilValue;
  });
  END_CPP11
}

SEXP gr_adapt(SEXP layer, SEXP data) {
  BEGIN_CPP11
  gh::Layer* const held = layer_of(layer, "object").get();
  if (auto* const norm = dynamic_cast<gh::Normalization*>(held)) {
    norm->adapt(context(), to_tensor(data, "data"));
    return R_NilValue;
  }
  auto* const lookup = dynamic_cast<gh::LookupLayer*>(held);
  if (lookup == nullptr) refuse("object", "a layer that adapts", layer);
  const bool is_text = dynamic_cast<gh::IntegerLookup*>(held) == nullptr;
  lookup->adapt(context(), to_tensor(data, "data", is_text ? gh::Dtype::u8 : gh::Dtype::i64));
  return R_NilValue;
  END_CPP11
}
