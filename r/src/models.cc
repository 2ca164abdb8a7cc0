// Models of layers, and their files.

#include "entries.h"
#include "grouphead/files/model_json.h"
#include "grouphead/files/saved_model.h"
#include "grouphead/files/weights.h"
#include "grouphead/models/model.h"
#include "handles.h"
#include "values.h"

namespace gr {
namespace {

std::vector<gh::Symbol> symbols_of(SEXP list, const char* what) {
  if (TYPEOF(list) != VECSXP) return {symbol_of(list, what)};
  std::vector<gh::Symbol> symbols;
  for (R_xlen_t i = 0; i < Rf_xlength(list); ++i) {
    symbols.push_back(symbol_of(VECTOR_ELT(list, i), what));
  }
  return symbols;
}

std::vector<std::string> keys_of(SEXP list) {
  if (TYPEOF(list) != VECSXP || Rf_isNull(Rf_getAttrib(list, R_NamesSymbol))) return {};
  return names_of(list);
}

std::uint64_t seed_of(SEXP seed) { return static_cast<std::uint64_t>(to_index(seed, "seed")); }

cpp11::sexp symbol_list(const std::vector<gh::Symbol>& symbols) {
  std::vector<cpp11::sexp> list;
  for (const gh::Symbol& symbol : symbols) list.emplace_back(make_symbol(symbol));
  return make_list(list);
}

gh::Sequential& sequential_of(SEXP value) {
  auto* sequential = dynamic_cast<gh::Sequential*>(&model_of(value, "model"));
  if (sequential == nullptr) refuse("model", "a sequential model", value);
  return *sequential;
}

void require_idle(const Holder& holder) {
  if (!holder.is_busy) return;
  throw gh::ConfigError("[R] model: expected one at rest, got one in fit() or evaluate()");
}

}  // namespace
}  // namespace gr

using namespace gr;

SEXP gr_model(SEXP inputs, SEXP outputs, SEXP name, SEXP seed) {
  BEGIN_CPP11
  gh::ModelConfig config{.inputs = symbols_of(inputs, "inputs"),
                         .outputs = symbols_of(outputs, "outputs"),
                         .seed = seed_of(seed),
                         .input_keys = keys_of(inputs),
                         .output_keys = keys_of(outputs)};
  if (!Rf_isNull(name)) config.name = to_text(name, "name");
  return make_layer_pointer(std::make_shared<gh::Model>(config));
  END_CPP11
}

SEXP gr_sequential(SEXP name, SEXP trainable, SEXP seed) {
  BEGIN_CPP11
  gh::SequentialConfig config{.trainable = to_flag(trainable, "trainable"), .seed = seed_of(seed)};
  if (!Rf_isNull(name)) config.name = to_text(name, "name");
  return make_layer_pointer(std::make_shared<gh::Sequential>(config));
  END_CPP11
}

SEXP gr_add(SEXP model, SEXP layer) {
  BEGIN_CPP11
  Holder& holder = holder_of(model, "model");
  require_idle(holder);
  gh::Sequential& sequential = sequential_of(model);
  if (is_symbol(layer)) {
    sequential.add(symbol_of(layer, "input"));
  } else {
    sequential.add(layer_of(layer, "layer"));
  }
  holder.compiled.reset();  // it was for the layers before
  holder.settings.reset();
  return R_NilValue;
  END_CPP11
}

SEXP gr_build(SEXP model, SEXP shapes, SEXP seed) {
  BEGIN_CPP11
  gh::Layer& layer = *layer_of(model, "model");
  std::vector<gh::Shape> inputs;
  for (R_xlen_t i = 0; i < Rf_xlength(shapes); ++i) {
    const std::vector<gh::Index> sizes = to_sizes(VECTOR_ELT(shapes, i), "input_shape");
    inputs.push_back(gh::Shape::partial(std::span<const gh::Index>(sizes)));
  }
  if (layer.is_built()) return R_NilValue;
  gh::RandomStream random(seed_of(seed));
  layer.build(inputs, random);
  return R_NilValue;
  END_CPP11
}

SEXP gr_model_info(SEXP model) {
  BEGIN_CPP11
  const gh::Model& held = model_of(model, "model");
  std::vector<cpp11::sexp> layers;
  for (const std::shared_ptr<gh::Layer>& layer : held.layers()) {
    layers.emplace_back(make_layer_pointer(layer));
  }
  NamedList info;
  info.add("layers", make_list(layers));
  if (held.has_graph()) {
    info.add("inputs", symbol_list(held.inputs()));
    info.add("outputs", symbol_list(held.outputs()));
    info.add("output_names", from_texts(held.output_names()));
  }
  info.add("summary", from_text(held.summary()));
  info.add("compiled",
           cpp11::safe[Rf_ScalarLogical](holder_of(model, "model").compiled != nullptr ? 1 : 0));
  return info.get();
  END_CPP11
}

SEXP gr_load_model(SEXP file, SEXP compile) {
  BEGIN_CPP11
  const std::string path = to_text(file, "filepath");
  auto holder = std::make_unique<Holder>();
  std::string problem;
  if (to_flag(compile, "compile")) {
    gh::TrainableModel loaded = gh::load_compiled_model(path, {.requires_training = false});
    holder->layer = loaded.model;
    holder->compiled = std::move(loaded.compiled);
    problem = loaded.problem;
  } else {
    holder->layer = gh::load_model(path);
  }
  NamedList result;
  result.add("pointer", make_holder_pointer(std::move(holder)));
  result.add("problem", from_text(problem));
  return result.get();
  END_CPP11
}

SEXP gr_save_model(SEXP model, SEXP file) {
  BEGIN_CPP11
  const Holder& holder = holder_of(model, "model");
  const std::string path = to_text(file, "filepath");
  const gh::SaveModelConfig config{.allow_own_options = true};
  if (holder.compiled != nullptr && holder.compiled->has_optimizer()) {
    gh::save_model(*holder.compiled, path, config);
  } else {
    gh::save_model(model_of(model, "model"), path, config);
  }
  return from_texts(gh::beyond_keras(model_of(model, "model")));
  END_CPP11
}

SEXP gr_load_weights(SEXP model, SEXP file) {
  BEGIN_CPP11
  Holder& holder = holder_of(model, "model");
  require_idle(holder);
  const std::string path = to_text(file, "filepath");
  if (holder.compiled != nullptr) {
    gh::load_weights(*holder.compiled, path);
  } else {
    gh::load_weights(*holder.layer, path);
  }
  return R_NilValue;
  END_CPP11
}

SEXP gr_save_weights(SEXP model, SEXP file) {
  BEGIN_CPP11
  gh::save_weights(*layer_of(model, "model"), to_text(file, "filepath"));
  return R_NilValue;
  END_CPP11
}

SEXP gr_to_json(SEXP model) {
  BEGIN_CPP11
  return from_text(gh::to_json(model_of(model, "model")));
  END_CPP11
}

SEXP gr_from_json(SEXP text, SEXP seed) {
  BEGIN_CPP11
  return make_layer_pointer(gh::model_from_json(to_text(text, "json"), seed_of(seed)));
  END_CPP11
}
