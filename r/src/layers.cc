// Layers: made from Keras's class names and configurations, called on arrays and on symbols.

#include <algorithm>

#include "entries.h"
#include "grouphead/layers/lookup.h"
#include "grouphead/layers/serialization.h"
#include "grouphead/models/symbol_operations.h"
#include "handles.h"
#include "values.h"

namespace gr {
namespace {

/// A call's operands in the layer's order, and what else it is given.
struct Call {
  std::vector<gh::Value> in;
  gh::Mode mode{};
  std::unique_ptr<gh::CallArguments> arguments;
};

bool is_mask_name(std::string_view name) { return name == "mask" || name.ends_with("_mask"); }

// Numbers for a layer: floating ones in its own type, so that f64 layers get all of R's digits.
gh::Tensor operand(SEXP value, const gh::Layer& layer, const std::string& name) {
  if (is_mask_name(name)) return to_tensor(value, name, gh::Dtype::boolean);
  if (TYPEOF(value) == REALSXP) return to_tensor(value, name, layer.dtype());
  if (TYPEOF(value) == STRSXP && dynamic_cast<const gh::LookupLayer*>(&layer) != nullptr) {
    return to_tensor(value, name, gh::Dtype::u8);
  }
  return to_tensor(value, name);
}

// Floating inputs of a model in its inputs' types.
gh::Tensor model_operand(SEXP value, const gh::Layer& layer, std::size_t place,
                         const std::string& name) {
  const auto* model = dynamic_cast<const gh::Model*>(&layer);
  if (model == nullptr || !model->has_graph() || place >= model->inputs().size()) {
    return operand(value, layer, name);
  }
  const gh::Symbol& input = model->inputs()[place];
  return text_rows(to_tensor(value, name, input.dtype()), input.shape().rank());
}

std::string name_at(const gh::Layer& layer, std::size_t place) {
  const auto names = layer.input_names();
  if (names.size() > 1 || place == 0) {
    if (place < names.size()) return std::string(names[place]);
  }
  return "inputs[[" + std::to_string(place + 1) + "]]";
}

void attach_masks(SEXP value, std::vector<gh::Value>& in) {
  if (Rf_isNull(value)) return;
  const std::vector<gh::Tensor> masks = to_tensors(
      value, "mask", std::vector<std::optional<gh::Dtype>>(in.size(), gh::Dtype::boolean));
  if (masks.size() > in.size()) refuse("mask", std::to_string(in.size()) + " or less", value);
  for (std::size_t i = 0; i < masks.size(); ++i) {
    if (masks[i].has_value()) in[i].mask = masks[i];
  }
}

Call read_call(const gh::Layer& layer, SEXP operands, SEXP keywords) {
  Call call;
  for (R_xlen_t i = 0; i < Rf_xlength(operands); ++i) {
    const auto place = static_cast<std::size_t>(i);
    call.in.push_back(
        {model_operand(VECTOR_ELT(operands, i), layer, place, name_at(layer, place))});
  }
  const auto names = layer.input_names();
  const std::vector<std::string> keys = names_of(keywords);
  gh::ConfigValue::Object settings;
  for (std::size_t i = 0; i < keys.size(); ++i) {
    const SEXP value = VECTOR_ELT(keywords, static_cast<R_xlen_t>(i));
    const auto found = std::find(names.begin(), names.end(), keys[i]);
    if (found != names.end()) {
      const auto place = static_cast<std::size_t>(found - names.begin());
      if (call.in.size() <= place) call.in.resize(place + 1);
      if (call.in[place].tensor.has_value()) {
        throw gh::ConfigError("[R] " + keys[i] + ": expected once, got twice");
      }
      call.in[place].tensor = model_operand(value, layer, place, keys[i]);
    } else if (keys[i] == "training") {
      call.mode.training = !Rf_isNull(value) && to_flag(value, "training");
    } else if (keys[i] != "mask") {
      settings.emplace_back(keys[i], to_config(value, keys[i]));
    }
  }
  attach_masks(entry(keywords, "mask"), call.in);
  if (!settings.empty()) call.arguments = layer.arguments_from_config(settings);
  call.mode.arguments = call.arguments.get();
  return call;
}

void build_once(gh::Layer& layer, const std::vector<gh::Value>& in, std::uint64_t seed) {
  if (layer.is_built()) return;
  std::vector<gh::Shape> shapes;
  for (const gh::Value& value : in) shapes.push_back(value.tensor.shape());
  gh::RandomStream random(seed);
  layer.build(shapes, random);
}

gh::Operand symbolic_operand(SEXP value, const std::string& name) {
  if (Rf_isNull(value)) return {};
  if (is_symbol(value)) return symbol_of(value, name);
  if (is_mask_name(name)) return to_tensor(value, name, gh::Dtype::boolean);
  return to_tensor(value, name);
}

gh::Term number_term(SEXP value, const std::string& name) {
  if (TYPEOF(value) == LGLSXP) return to_flag(value, name);
  if (TYPEOF(value) == INTSXP) return to_index(value, name);
  return to_number(value, name);
}

gh::Dtype dtype_named(const std::string& name) {
  constexpr std::pair<std::string_view, gh::Dtype> kNames[] = {
      {"float32", gh::Dtype::f32}, {"float64", gh::Dtype::f64},  {"bfloat16", gh::Dtype::bf16},
      {"float16", gh::Dtype::f16}, {"bool", gh::Dtype::boolean}, {"uint8", gh::Dtype::u8},
      {"int32", gh::Dtype::i32},   {"int64", gh::Dtype::i64}};
  for (const auto& [known, dtype] : kNames) {
    if (known == name) return dtype;
  }
  throw gh::ConfigError(
      "[R] dtype: expected float32, float64, bfloat16, float16, bool, uint8, "
      "int32 or int64, got " +
      name);
}

std::string dtype_text(gh::Dtype dtype) {
  switch (dtype) {
    case gh::Dtype::f32:
      return "float32";
    case gh::Dtype::f64:
      return "float64";
    case gh::Dtype::bf16:
      return "bfloat16";
    case gh::Dtype::f16:
      return "float16";
    case gh::Dtype::boolean:
      return "bool";
    case gh::Dtype::u8:
      return "uint8";
    case gh::Dtype::i32:
      return "int32";
    case gh::Dtype::i64:
      return "int64";
  }
  return "";
}

}  // namespace
}  // namespace gr

using namespace gr;

SEXP gr_class_names() {
  BEGIN_CPP11
  std::vector<std::string> names;
  for (const std::string_view name : gh::layer_class_names()) names.emplace_back(name);
  return from_texts(names);
  END_CPP11
}

SEXP gr_make_layer(SEXP class_name, SEXP config) {
  BEGIN_CPP11
  return make_layer_pointer(
      gh::make_layer(to_text(class_name, "class_name"), to_config(config, "config")));
  END_CPP11
}

SEXP gr_layer_info(SEXP layer) {
  BEGIN_CPP11
  const gh::Layer& held = *layer_of(layer, "layer");
  std::vector<std::string> inputs;
  for (const std::string_view name : held.input_names()) inputs.emplace_back(name);
  NamedList info;
  info.add("class_name", from_text(held.class_name()));
  info.add("name", from_text(held.name()));
  info.add("trainable", cpp11::safe[Rf_ScalarLogical](held.trainable() ? 1 : 0));
  info.add("built", cpp11::safe[Rf_ScalarLogical](held.is_built() ? 1 : 0));
  info.add("input_names", from_texts(inputs));
  info.add("count_params",
           cpp11::safe[Rf_ScalarReal](static_cast<double>(gh::count_elements(held.parameters()))));
  info.add("is_model",
           cpp11::safe[Rf_ScalarLogical](dynamic_cast<const gh::Model*>(&held) != nullptr ? 1 : 0));
  info.add("is_sequential", cpp11::safe[Rf_ScalarLogical](
                                dynamic_cast<const gh::Sequential*>(&held) != nullptr ? 1 : 0));
  info.add("config", from_config(held.get_config()));
  return info.get();
  END_CPP11
}

SEXP gr_input(SEXP shape, SEXP batch_size, SEXP dtype, SEXP name, SEXP optional) {
  BEGIN_CPP11
  gh::InputConfig config{.shape = to_sizes(shape, "shape")};
  if (!Rf_isNull(batch_size)) config.batch_size = to_index(batch_size, "batch_size");
  if (!Rf_isNull(dtype)) {
    const std::string type = to_text(dtype, "dtype");
    config.dtype = type == "string" ? gh::Dtype::u8 : dtype_named(type);
    if (type == "string") config.shape.push_back(-1);  // their bytes
  }
  if (!Rf_isNull(name)) config.name = to_text(name, "name");
  config.optional = to_flag(optional, "optional");
  return make_symbol(gh::input(config));
  END_CPP11
}

SEXP gr_symbol_info(SEXP symbol) {
  BEGIN_CPP11
  const gh::Symbol& held = symbol_of(symbol, "symbol");
  NamedList info;
  info.add("shape", from_shape(held.shape()));
  info.add("dtype", from_text(dtype_text(held.dtype())));
  info.add("name", from_text(held.name()));
  return info.get();
  END_CPP11
}

SEXP gr_connect(SEXP layer, SEXP operands, SEXP keywords) {
  BEGIN_CPP11
  const std::shared_ptr<gh::Layer>& held = layer_of(layer, "layer");
  std::vector<gh::Operand> in;
  for (R_xlen_t i = 0; i < Rf_xlength(operands); ++i) {
    in.push_back(
        symbolic_operand(VECTOR_ELT(operands, i), name_at(*held, static_cast<std::size_t>(i))));
  }
  const auto names = held->input_names();
  const std::vector<std::string> keys = names_of(keywords);
  gh::Keywords given;
  for (std::size_t i = 0; i < keys.size(); ++i) {
    const SEXP value = VECTOR_ELT(keywords, static_cast<R_xlen_t>(i));
    const bool is_operand = is_symbol(value) || keys[i] == "mask" ||
                            std::find(names.begin(), names.end(), keys[i]) != names.end();
    if (is_operand) {
      given.add({keys[i], symbolic_operand(value, keys[i])});
    } else {
      given.add({keys[i], to_config(value, keys[i])});
    }
  }
  const gh::Outputs outputs = gh::connect(held, in, given);
  std::vector<cpp11::sexp> out;
  for (const gh::Symbol& symbol : outputs.symbols()) {
    out.emplace_back(make_symbol(symbol));
  }
  return out.size() == 1 ? static_cast<SEXP>(out[0]) : make_list(out);
  END_CPP11
}

SEXP gr_call(SEXP layer, SEXP operands, SEXP keywords, SEXP seed) {
  BEGIN_CPP11
  gh::Layer& held = *layer_of(layer, "layer");
  Call call = read_call(held, operands, keywords);
  if (call.in.empty()) throw gh::ConfigError("[R] " + held.name() + ": expected inputs, got none");
  build_once(held, call.in, static_cast<std::uint64_t>(to_index(seed, "seed")));
  gh::StateUpdates updates;
  if (call.mode.training) call.mode.updates = &updates;
  std::vector<gh::Tensor> out;
  for (gh::Value& value : held.call(context(), call.in, call.mode, nullptr)) {
    out.push_back(value.tensor);
  }
  updates.apply(held.parameters());
  return from_tensors(out);
  END_CPP11
}

SEXP gr_operation(SEXP name, SEXP operands, SEXP options) {
  BEGIN_CPP11
  const std::vector<std::string> names = names_of(operands);
  std::vector<gh::Term> terms;
  for (std::size_t i = 0; i < names.size(); ++i) {
    SEXP value = VECTOR_ELT(operands, static_cast<R_xlen_t>(i));
    if (is_symbol(value)) {
      terms.emplace_back(symbol_of(value, names[i]));
    } else if (Rf_xlength(value) == 1 && Rf_isNull(Rf_getAttrib(value, R_DimSymbol))) {
      terms.emplace_back(number_term(value, names[i]));
    } else {
      terms.emplace_back(to_tensor(value, names[i]));
    }
  }
  gh::ConfigValue::Object settings;
  for (const std::string& key : names_of(options)) {
    settings.emplace_back(key, to_config(entry(options, key.c_str()), key));
  }
  return make_symbol(gh::operation(to_text(name, "operation"), terms, settings));
  END_CPP11
}

SEXP gr_set_trainable(SEXP layer, SEXP trainable) {
  BEGIN_CPP11
  layer_of(layer, "layer")->set_trainable(to_flag(trainable, "trainable"));
  return R_NilValue;
  END_CPP11
}

SEXP gr_get_weights(SEXP layer) {
  BEGIN_CPP11
  std::vector<cpp11::sexp> values;
  for (const gh::Tensor& tensor : gh::get_weights(*layer_of(layer, "layer"))) {
    values.emplace_back(from_tensor(tensor));
  }
  return make_list(values);
  END_CPP11
}

SEXP gr_set_weights(SEXP layer, SEXP weights) {
  BEGIN_CPP11
  gh::Layer& held = *layer_of(layer, "layer");
  if (TYPEOF(weights) != VECSXP) refuse("weights", "a list of arrays", weights);
  const gh::ParameterList parameters = held.parameters();
  std::vector<std::optional<gh::Dtype>> dtypes;
  for (const auto& [path, parameter] : parameters) dtypes.push_back(parameter->dtype());
  std::vector<gh::Tensor> tensors = to_tensors(weights, "weights", dtypes);
  for (std::size_t i = 0; i < std::min(tensors.size(), parameters.size()); ++i) {
    const bool is_scalar = parameters[i].parameter->shape().rank() == 0;
    if (is_scalar && tensors[i].size() == 1) tensors[i] = tensors[i].reshaped({});
  }
  gh::set_weights(held, tensors);
  return R_NilValue;
  END_CPP11
}
