#include "options.h"

#include <nanobind/stl/string.h>

#include <array>
#include <string>

#include "grouphead/core/error.h"
#include "grouphead/core/tensor_functions.h"

namespace grouphead::python {
namespace {

struct Argument {
  Place place;
  nb::handle value;
  Dtype queries;
  AttentionOptions& options;
  std::vector<Array>& arrays;
  Shape& bias_shape;

  [[noreturn]] void refuse(std::string_view expected) const {
    throw_type_error(place, expected, nb::cast<std::string>(nb::repr(value)));
  }
  double number() const {
    const double x = PyFloat_AsDouble(value.ptr());
    if (x == -1 && PyErr_Occurred() != nullptr) {
      PyErr_Clear();
      refuse("a number");
    }
    return x;
  }
  Index integer(nb::handle x) const {
    const auto index = nb::steal(PyNumber_Index(x.ptr()));
    const long long result = index.is_valid() ? PyLong_AsLongLong(index.ptr()) : -1;
    if (PyErr_Occurred() != nullptr) {
      PyErr_Clear();
      refuse("an integer of 64 bits");
    }
    return result;
  }
  Index integer() const { return integer(value); }
  bool truth() const {
    if (!PyBool_Check(value.ptr())) refuse("True or False");
    return value.is(Py_True);
  }
  ConstView array() const { return arrays.emplace_back(Array::read(value, place)).view(); }
  ConstView per_head() const {
    if (!PyList_Check(value.ptr())) return array();
    const nb::object numbers = nb::module_::import_("numpy").attr("asarray")(
        value, queries == Dtype::f64 ? "float64" : "float32");
    return arrays.emplace_back(Array::read(numbers, place)).view();
  }
  ConstView grid() const { return as_grid(array()); }
  MaskedRows rows() const {
    const nb::str name(value);
    if (name.equal(nb::str("zeros"))) return MaskedRows::zeros;
    if (name.equal(nb::str("uniform"))) return MaskedRows::uniform;
    throw ConfigError("[" + std::string(place.operation) +
                      "] masked_rows: expected zeros or uniform, got " + name.c_str());
  }
  RandomDraw draw() const {
    if (!PyTuple_Check(value.ptr())) return {.key = {static_cast<std::uint64_t>(integer()), 0}};
    if (PyTuple_GET_SIZE(value.ptr()) != 2) refuse("a seed, or a seed and a number of a draw");
    return {.key = {static_cast<std::uint64_t>(integer(value[0])),
                    static_cast<std::uint64_t>(integer(value[1]))}};
  }
};

struct Option {
  const char* name;
  void (*set)(const Argument& argument);
};

constexpr Option kOptions[] = {
    {"causal", [](const Argument& a) { a.options.causal = a.truth(); }},
    {"scale", [](const Argument& a) { a.options.scale = a.number(); }},
    {"mask", [](const Argument& a) { a.options.mask = a.grid(); }},
    {"bias",
     [](const Argument& a) {
       a.options.bias = a.grid();
       a.bias_shape = a.arrays.back().view().shape();
     }},
    {"causal_offset", [](const Argument& a) { a.options.causal_offset = a.integer(); }},
    {"window_left", [](const Argument& a) { a.options.window_left = a.integer(); }},
    {"window_right", [](const Argument& a) { a.options.window_right = a.integer(); }},
    {"key_mask", [](const Argument& a) { a.options.key_mask = a.array(); }},
    {"query_mask", [](const Argument& a) { a.options.query_mask = a.array(); }},
    {"softcap", [](const Argument& a) { a.options.softcap = a.number(); }},
    {"alibi_slopes", [](const Argument& a) { a.options.alibi_slopes = a.per_head(); }},
    {"sinks", [](const Argument& a) { a.options.sinks = a.per_head(); }},
    {"lengths", [](const Argument& a) { a.options.lengths = a.array(); }},
    {"segments", [](const Argument& a) { a.options.segments = a.array(); }},
    {"key_segments", [](const Argument& a) { a.options.key_segments = a.array(); }},
    {"masked_rows", [](const Argument& a) { a.options.masked_rows = a.rows(); }},
    {"dropout_rate", [](const Argument& a) { a.options.dropout_rate = a.number(); }},
    {"draw", [](const Argument& a) { a.options.draw = a.draw(); }},
};

struct Range {
  std::uintptr_t begin;
  std::uintptr_t end;
};

// The bytes between the first and the last element.
Range range_of(ConstView x) {
  const auto start = reinterpret_cast<std::uintptr_t>(x.raw());
  if (x.size() == 0) return {start, start};
  Index first = 0;
  Index last = 0;
  for (int axis = 0; axis < x.rank(); ++axis) {
    const Index reach = (x.dim(axis) - 1) * x.stride(axis);
    (reach < 0 ? first : last) += reach;
  }
  return {start + static_cast<std::uintptr_t>(first * size_of(x.dtype())),
          start + static_cast<std::uintptr_t>((last + 1) * size_of(x.dtype()))};
}

}  // namespace

ConstView as_grid(ConstView x) {
  if (!x.has_value() || x.rank() >= 4) return x;
  std::array<Index, 4> dims = {1, 1, 1, 1};
  Strides strides{};
  const auto first = static_cast<std::size_t>(4 - x.rank());
  for (std::size_t i = first; i < 4; ++i) {
    dims[i] = x.dim(static_cast<int>(i - first));
    strides[i] = x.stride(static_cast<int>(i - first));
  }
  return {x.raw(), x.dtype(), Shape(dims), strides};
}

Options::Options(std::string_view operation, const nb::kwargs& arguments, Dtype queries) {
  arrays_.reserve(8);
  for (const auto [key, value] : arguments) {
    const Option* found = nullptr;
    for (const Option& option : kOptions) {
      if (PyUnicode_CompareWithASCIIString(key.ptr(), option.name) == 0) found = &option;
    }
    if (found == nullptr) {
      throw_type_error({operation, "arguments"}, "options of attention",
                       nb::cast<std::string>(nb::repr(key)));
    }
    if (!value.is_none()) {
      found->set({{operation, found->name}, value, queries, options_, arrays_, bias_shape_});
    };
  }
}

Layout layout_of(std::string_view operation, std::string_view name) {
  if (name == "BTHD") return Layout::bthd;
  if (name == "BHTD") return Layout::bhtd;
  throw ConfigError("[" + std::string(operation) + "] layout: expected BTHD or BHTD, got " +
                    std::string(name));
}

Heads Heads::read(nb::handle object, Place place, Layout layout) {
  return of(Array::read(object, place), place, layout);
}

Heads Heads::of(Array array, Place place, Layout layout) {
  Heads heads;
  heads.array_ = std::move(array);
  heads.view_ = heads.array_.view();
  if (!heads.view_.has_value()) throw_type_error(place, "an array", "None");
  if (heads.view_.rank() != 4) {
    throw_shape_error(place, layout == Layout::bthd ? "[B, T, H, D]" : "[B, H, T, D]",
                      heads.view_.shape().to_string());
  }
  if (layout == Layout::bhtd) heads.view_ = swapped(heads.view_);
  if (heads.view_.dim(3) > 1 && heads.view_.stride(3) != 1) {
    heads.copy_ = contiguous(heads.view_);
    heads.view_ = heads.copy_;
  }
  return heads;
}

Heads Heads::read_floating(nb::handle object, Place place, Layout layout) {
  Heads heads = read(object, place, layout);
  const Dtype dtype = heads->dtype();
  if (dtype != Dtype::f32 && dtype != Dtype::f64 && dtype != Dtype::bf16) {
    throw_type_error(place, "float32, float64 or bfloat16", name_of(dtype));
  }
  return heads;
}

HeadsResult::HeadsResult(nb::handle into, Place place, Layout layout, nb::handle like,
                         const Shape& shape, Dtype dtype) {
  if (!into.is_none()) {
    given_ = nb::borrow(into);
    array_ = Array::write(into, place);
    view_ = array_.mutable_view();
  } else if (layout == Layout::bthd) {
    made_ = std::make_unique<NewArray>(like, shape, dtype);
    view_ = made_->view();
  } else {
    made_ = std::make_unique<NewArray>(like, Shape{shape[0], shape[2], shape[1], shape[3]}, dtype);
    view_ = made_->view();
  }
  if (layout == Layout::bhtd) view_ = swapped(view_);
}

void HeadsResult::require_apart(Place place, ConstView operand) const {
  if (made_ || !operand.has_value()) return;
  const Range a = range_of(view_);
  const Range b = range_of(operand);
  if (a.begin < b.end && b.begin < a.end) {
    throw_shape_error(place, "memory of its own", "memory that is read too");
  }
}

nb::object HeadsResult::take() { return made_ ? made_->take() : std::move(given_); }

}  // namespace grouphead::python
