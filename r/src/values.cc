#include "values.h"

#include <climits>
#include <cmath>
#include <cstdlib>

#include "grouphead/core/tensor_functions.h"
#include "grouphead/layers/lookup.h"
#include "grouphead/layers/serialization.h"
#include "handles.h"

namespace gr {
namespace {

using gh::ConfigValue;

// What R says of a value in a few words.
std::string described(SEXP value) {
  switch (TYPEOF(value)) {
    case NILSXP:
      return "NULL";
    case CLOSXP:
      return "a function";
    case VECSXP:
      return Rf_inherits(value, "data.frame") ? "a data frame" : "a list";
    case EXTPTRSXP:
      return "an external pointer";
    default:
      break;
  }
  const R_xlen_t length = Rf_xlength(value);
  std::string type = Rf_inherits(value, "factor") ? "factor" : Rf_type2char(TYPEOF(value));
  return type + " of length " + std::to_string(length);
}

ConfigValue number_config(double value, const std::string& what, SEXP all) {
  if (R_IsNA(value) != 0) refuse(what, "no NA", all);
  constexpr double kExact = 9007199254740992;  // 2^53
  if (std::nearbyint(value) == value && std::fabs(value) <= kExact) {
    return ConfigValue(static_cast<gh::Index>(value));
  }
  return ConfigValue(value);
}

ConfigValue element_config(SEXP value, R_xlen_t i, const std::string& what) {
  switch (TYPEOF(value)) {
    case LGLSXP: {
      const int held = cpp11::safe[LOGICAL](value)[i];
      if (held == NA_LOGICAL) refuse(what, "TRUE or FALSE", value);
      return ConfigValue(held != 0);
    }
    case INTSXP: {
      const int held = cpp11::safe[INTEGER](value)[i];
      if (held == NA_INTEGER) refuse(what, "no NA", value);
      return ConfigValue(gh::Index{held});
    }
    case REALSXP:
      return number_config(cpp11::safe[REAL](value)[i], what, value);
    default:
      break;
  }
  SEXP text = STRING_ELT(value, i);
  if (text == NA_STRING) refuse(what, "no NA", value);
  return ConfigValue(std::string(cpp11::safe[Rf_translateCharUTF8](text)));
}

ConfigValue list_config(SEXP value, const std::string& what) {
  const std::vector<std::string> names = names_of(value);
  const R_xlen_t length = Rf_xlength(value);
  if (Rf_isNull(Rf_getAttrib(value, R_NamesSymbol))) {
    ConfigValue::List list;
    for (R_xlen_t i = 0; i < length; ++i) list.push_back(to_config(VECTOR_ELT(value, i), what));
    return list;
  }
  ConfigValue::Object object;
  for (R_xlen_t i = 0; i < length; ++i) {
    const std::string& name = names[static_cast<std::size_t>(i)];
    object.emplace_back(name, to_config(VECTOR_ELT(value, i), name));
  }
  return object;
}

gh::Shape shape_of(SEXP value) {
  const cpp11::sexp dim = Rf_getAttrib(value, R_DimSymbol);
  std::vector<gh::Index> sizes;
  if (Rf_isNull(dim)) {
    sizes.push_back(Rf_xlength(value));
  } else {
    const int* held = cpp11::safe[INTEGER](dim);
    for (R_xlen_t i = 0; i < Rf_xlength(dim); ++i) sizes.push_back(held[i]);
  }
  return gh::Shape(std::span<const gh::Index>(sizes));
}

// Of a tensor in R's order.
gh::Strides strides_of(const gh::Shape& shape) {
  gh::Strides strides{};
  gh::Index stride = 1;
  for (int axis = 0; axis < shape.rank(); ++axis) {
    strides[static_cast<std::size_t>(axis)] = stride;
    stride *= shape[axis];
  }
  return strides;
}

void require_no_na(const int* values, R_xlen_t count, const std::string& what, SEXP all) {
  for (R_xlen_t i = 0; i < count; ++i) {
    if (values[i] == NA_INTEGER) refuse(what, "no NA", all);
  }
}

template <class T>
SEXP new_array(unsigned type, const gh::Tensor& tensor, gh::Dtype dtype, T* (*data)(SEXP)) {
  const gh::Tensor numbers = tensor.dtype() == dtype ? tensor : gh::cast(tensor, dtype);
  cpp11::sexp out = cpp11::safe[Rf_allocVector](type, static_cast<R_xlen_t>(tensor.size()));
  const gh::View held(data(out), dtype, tensor.shape(), strides_of(tensor.shape()));
  if (tensor.size() > 0) gh::copy(numbers, held);
  if (tensor.rank() > 0) {
    const cpp11::sexp dim = from_shape(tensor.shape());
    cpp11::safe[Rf_setAttrib](out, R_DimSymbol, dim);
  }
  return out;
}

// R's elements in a tensor's order.
gh::Tensor texts_tensor(SEXP value, const std::string& what) {
  const std::vector<std::string> texts = to_texts(value, what);
  const gh::Shape shape = shape_of(value);
  const gh::Strides strides = strides_of(shape);
  std::vector<std::string> ordered;
  for (gh::Index i = 0; i < shape.size(); ++i) {
    gh::Index rest = i;
    gh::Index place = 0;
    for (int axis = shape.rank() - 1; axis >= 0; --axis) {
      place += rest % shape[axis] * strides[static_cast<std::size_t>(axis)];
      rest /= shape[axis];
    }
    ordered.push_back(texts[static_cast<std::size_t>(place)]);
  }
  return gh::text_tensor(ordered, shape);
}

}  // namespace

void refuse(const std::string& what, const std::string& expected, SEXP got) {
  throw gh::ConfigError("[R] " + what + ": expected " + expected + ", got " + described(got));
}

ConfigValue to_config(SEXP value, const std::string& what) {
  if (is_layer(value)) return gh::layer_to_config(*layer_of(value, what));
  if (SEXP held = description_of(value); held != R_NilValue) return to_config(held, what);
  switch (TYPEOF(value)) {
    case NILSXP:
      return {};
    case VECSXP:
      return list_config(value, what);
    case LGLSXP:
    case INTSXP:
    case REALSXP:
    case STRSXP:
      break;
    default:
      refuse(what, "a setting", value);
  }
  if (Rf_inherits(value, "factor")) refuse(what, "a setting", value);
  if (Rf_xlength(value) == 1) return element_config(value, 0, what);
  ConfigValue::List list;
  for (R_xlen_t i = 0; i < Rf_xlength(value); ++i) list.push_back(element_config(value, i, what));
  return list;
}

SEXP from_config(const ConfigValue& value) {
  if (value.is_bool()) return cpp11::safe[Rf_ScalarLogical](value.as_bool("") ? 1 : 0);
  if (value.is_integer()) {
    const gh::Index held = value.as_integer("");
    if (std::abs(held) < INT_MAX) return cpp11::safe[Rf_ScalarInteger](static_cast<int>(held));
  }
  if (value.is_number()) return cpp11::safe[Rf_ScalarReal](value.as_number(""));
  if (value.is_string()) return from_text(value.as_string(""));
  if (value.is_list()) {
    std::vector<cpp11::sexp> entries;
    for (const ConfigValue& held : value.as_list("")) entries.emplace_back(from_config(held));
    return make_list(entries);
  }
  if (value.is_object()) {
    NamedList list;
    for (const auto& [name, held] : value.as_object("")) list.add(name, from_config(held));
    return list.get();
  }
  return R_NilValue;
}

gh::Tensor to_tensor(SEXP value, const std::string& what, std::optional<gh::Dtype> dtype) {
  if (Rf_isNull(value)) return {};
  if (TYPEOF(value) == STRSXP && dtype == gh::Dtype::u8) return texts_tensor(value, what);
  const bool is_numeric =
      TYPEOF(value) == REALSXP || TYPEOF(value) == INTSXP || TYPEOF(value) == LGLSXP;
  if (!is_numeric || Rf_inherits(value, "factor")) {
    refuse(what, "an array of numbers or logicals", value);
  }
  const gh::Shape shape = shape_of(value);
  const gh::Strides strides = strides_of(shape);
  if (TYPEOF(value) == REALSXP) {
    const gh::ConstView held(cpp11::safe[REAL](value), gh::Dtype::f64, shape, strides);
    return gh::cast(held, dtype.value_or(gh::Dtype::f32));
  }
  const bool is_logical = TYPEOF(value) == LGLSXP;
  const int* numbers = is_logical ? cpp11::safe[LOGICAL](value) : cpp11::safe[INTEGER](value);
  require_no_na(numbers, Rf_xlength(value), what, value);
  const gh::ConstView held(numbers, gh::Dtype::i32, shape, strides);
  return gh::cast(held, dtype.value_or(is_logical ? gh::Dtype::boolean : gh::Dtype::i32));
}

gh::Tensor text_rows(gh::Tensor tensor, int rank) {
  if (tensor.dtype() != gh::Dtype::u8 || tensor.rank() != 2 || rank != 3) return tensor;
  return tensor.reshaped({tensor.dim(0), 1, tensor.dim(1)});
}

SEXP from_tensor(const gh::Tensor& tensor) {
  if (!tensor.has_value()) return R_NilValue;
  switch (tensor.dtype()) {
    case gh::Dtype::i32:
      return new_array<int>(INTSXP, tensor, gh::Dtype::i32, INTEGER);
    case gh::Dtype::boolean: {
      // R's logicals are integers of 0 and 1.
      return new_array<int>(LGLSXP, gh::cast(tensor, gh::Dtype::i32), gh::Dtype::i32, LOGICAL);
    }
    default:
      return new_array<double>(REALSXP, tensor, gh::Dtype::f64, REAL);
  }
}

std::vector<gh::Tensor> to_tensors(SEXP value, const std::string& what,
                                   const std::vector<std::optional<gh::Dtype>>& dtypes) {
  const auto dtype = [&](std::size_t i) {
    return i < dtypes.size() ? dtypes[i] : std::optional<gh::Dtype>();
  };
  if (TYPEOF(value) != VECSXP) return {to_tensor(value, what, dtype(0))};
  if (Rf_inherits(value, "data.frame")) refuse(what, "an array (see as.matrix)", value);
  std::vector<gh::Tensor> tensors;
  for (R_xlen_t i = 0; i < Rf_xlength(value); ++i) {
    const auto place = static_cast<std::size_t>(i);
    const std::string name = what + "[[" + std::to_string(i + 1) + "]]";
    tensors.push_back(to_tensor(VECTOR_ELT(value, i), name, dtype(place)));
  }
  return tensors;
}

SEXP from_tensors(const std::vector<gh::Tensor>& tensors) {
  if (tensors.size() == 1) return from_tensor(tensors[0]);
  std::vector<cpp11::sexp> values;
  for (const gh::Tensor& tensor : tensors) values.emplace_back(from_tensor(tensor));
  return make_list(values);
}

std::vector<gh::Index> to_sizes(SEXP value, const std::string& what) {
  std::vector<gh::Index> sizes;
  for (R_xlen_t i = 0; i < Rf_xlength(value); ++i) {
    SEXP held = value;
    R_xlen_t place = i;
    if (TYPEOF(value) == VECSXP) {
      held = VECTOR_ELT(value, i);
      place = 0;
      if (Rf_isNull(held)) {
        sizes.push_back(-1);
        continue;
      }
      if (Rf_xlength(held) != 1) refuse(what, "sizes", value);
    }
    double size = NA_REAL;
    if (TYPEOF(held) == REALSXP) {
      size = cpp11::safe[REAL](held)[place];
    } else if (TYPEOF(held) == INTSXP) {
      const int whole = cpp11::safe[INTEGER](held)[place];
      if (whole != NA_INTEGER) size = whole;
    } else if (TYPEOF(held) != LGLSXP || cpp11::safe[LOGICAL](held)[place] != NA_LOGICAL) {
      refuse(what, "sizes", value);
    }
    if (std::isnan(size)) {
      sizes.push_back(-1);
    } else if (size < 0 || std::nearbyint(size) != size || size > 1e15) {
      refuse(what, "whole sizes, NA where unknown", value);
    } else {
      sizes.push_back(static_cast<gh::Index>(size));
    }
  }
  return sizes;
}

SEXP from_shape(const gh::Shape& shape) {
  cpp11::sexp dim = cpp11::safe[Rf_allocVector](INTSXP, shape.rank());
  for (int axis = 0; axis < shape.rank(); ++axis) {
    if (shape[axis] > INT_MAX) throw gh::ShapeError("[R] array: expected axes below 2^31");
    INTEGER(dim)[axis] = shape[axis] < 0 ? NA_INTEGER : static_cast<int>(shape[axis]);
  }
  return dim;
}

std::vector<std::string> to_texts(SEXP value, const std::string& what) {
  if (TYPEOF(value) != STRSXP) refuse(what, "texts", value);
  std::vector<std::string> texts;
  for (R_xlen_t i = 0; i < Rf_xlength(value); ++i) {
    SEXP text = STRING_ELT(value, i);
    if (text == NA_STRING) refuse(what, "no NA", value);
    texts.emplace_back(cpp11::safe[Rf_translateCharUTF8](text));
  }
  return texts;
}

std::string to_text(SEXP value, const std::string& what) {
  if (TYPEOF(value) != STRSXP || Rf_xlength(value) != 1) refuse(what, "a string", value);
  return element_config(value, 0, what).as_string(what);
}

gh::Index to_index(SEXP value, const std::string& what) {
  const double number = to_number(value, what);
  if (std::nearbyint(number) != number || std::fabs(number) > 1e15) {
    refuse(what, "a whole number", value);
  }
  return static_cast<gh::Index>(number);
}

bool to_flag(SEXP value, const std::string& what) {
  if (TYPEOF(value) != LGLSXP || Rf_xlength(value) != 1) refuse(what, "TRUE or FALSE", value);
  return element_config(value, 0, what).as_bool(what);
}

double to_number(SEXP value, const std::string& what) {
  const bool is_number = TYPEOF(value) == REALSXP || TYPEOF(value) == INTSXP;
  if (!is_number || Rf_xlength(value) != 1) refuse(what, "a number", value);
  return element_config(value, 0, what).as_number(what);
}

SEXP from_text(std::string_view text) { return from_texts({std::string(text)}); }

SEXP from_texts(const std::vector<std::string>& texts) {
  cpp11::sexp out = cpp11::safe[Rf_allocVector](STRSXP, static_cast<R_xlen_t>(texts.size()));
  for (std::size_t i = 0; i < texts.size(); ++i) {
    SEXP text =
        cpp11::safe[Rf_mkCharLenCE](texts[i].data(), static_cast<int>(texts[i].size()), CE_UTF8);
    SET_STRING_ELT(out, static_cast<R_xlen_t>(i), text);
  }
  return out;
}

std::vector<std::string> names_of(SEXP list) {
  std::vector<std::string> names(static_cast<std::size_t>(Rf_xlength(list)));
  const cpp11::sexp held = Rf_getAttrib(list, R_NamesSymbol);
  if (Rf_isNull(held)) return names;
  for (std::size_t i = 0; i < names.size(); ++i) {
    names[i] = cpp11::safe[Rf_translateCharUTF8](STRING_ELT(held, static_cast<R_xlen_t>(i)));
  }
  return names;
}

SEXP entry(SEXP list, const char* name) {
  const std::vector<std::string> names = names_of(list);
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (names[i] == name) return VECTOR_ELT(list, static_cast<R_xlen_t>(i));
  }
  return R_NilValue;
}

void NamedList::add(const std::string& name, SEXP value) {
  names_.push_back(name);
  values_.emplace_back(value);
}

SEXP NamedList::get() const {
  const cpp11::sexp list = make_list(values_);
  const cpp11::sexp names = from_texts(names_);
  cpp11::safe[Rf_setAttrib](list, R_NamesSymbol, names);
  return list;
}

SEXP make_list(const std::vector<cpp11::sexp>& values) {
  cpp11::sexp list = cpp11::safe[Rf_allocVector](VECSXP, static_cast<R_xlen_t>(values.size()));
  for (std::size_t i = 0; i < values.size(); ++i) {
    SET_VECTOR_ELT(list, static_cast<R_xlen_t>(i), values[i]);
  }
  return list;
}

}  // namespace gr
