#include "config_values.h"

#include <nanobind/stl/string.h>

#include <string>

namespace nb = nanobind;

namespace grouphead::python {
namespace {

constexpr int kMostNested = 200;

ConfigValue convert(nb::handle object, int depth);

ConfigValue sequence(nb::handle object, int depth) {
  ConfigValue::List list;
  for (const nb::handle entry : nb::iter(object)) list.push_back(convert(entry, depth));
  return list;
}

ConfigValue mapping(const nb::dict& dict, int depth) {
  ConfigValue::Object entries;
  for (const auto& [key, entry] : dict) {
    // JSON's keys: what Keras writes of a dict with numbers for keys.
    entries.emplace_back(nb::cast<std::string>(nb::str(key)), convert(entry, depth));
  }
  return entries;
}

ConfigValue number(nb::handle object, int depth) {
  if (nb::hasattr(object, "dtype")) return convert(object.attr("item")(), depth + 1);
  if (PyIndex_Check(object.ptr()) != 0) {
    const auto whole = nb::steal<nb::object>(PyNumber_Index(object.ptr()));
    if (!whole.is_valid()) throw nb::python_error();
    const long long value = PyLong_AsLongLong(whole.ptr());
    if (value == -1 && PyErr_Occurred() != nullptr) throw nb::python_error();
    return Index{value};
  }
  const double value = PyFloat_AsDouble(object.ptr());
  if (value == -1 && PyErr_Occurred() != nullptr) throw nb::python_error();
  return value;
}

ConfigValue convert(nb::handle object, int depth) {
  if (depth > kMostNested) throw nb::value_error("a configuration is nested too deeply");
  if (object.is_none()) return nullptr;
  if (nb::isinstance<nb::bool_>(object)) return nb::cast<bool>(object);
  if (nb::isinstance<nb::str>(object)) return nb::cast<std::string>(object);
  if (nb::isinstance<nb::dict>(object)) return mapping(nb::borrow<nb::dict>(object), depth + 1);
  if (nb::isinstance<nb::list>(object) || nb::isinstance<nb::tuple>(object)) {
    return sequence(object, depth + 1);
  }
  if (PyNumber_Check(object.ptr()) != 0) return number(object, depth);
  const std::string type = nb::cast<std::string>(nb::str(object.type()));
  throw nb::type_error(("expected a number, text, list or dict, got " + type).c_str());
}

}  // namespace

ConfigValue config_from(nb::handle object) { return convert(object, 0); }

nb::object config_to(const ConfigValue& value) {
  if (value.is_null()) return nb::none();
  if (value.is_bool()) return nb::bool_(value.as_bool("value"));
  if (value.is_integer()) return nb::int_(value.as_integer("value"));
  if (value.is_number()) return nb::float_(value.as_number("value"));
  if (value.is_string()) {
    const std::string& text = value.as_string("value");
    return nb::str(text.data(), text.size());
  }
  if (value.is_list()) {
    nb::list list;
    for (const ConfigValue& entry : value.as_list("value")) list.append(config_to(entry));
    return list;
  }
  nb::dict dict;
  for (const auto& [key, entry] : value.as_object("value")) dict[key.c_str()] = config_to(entry);
  return dict;
}

}  // namespace grouphead::python
