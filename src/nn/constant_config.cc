#include "nn/constant_config.h"

#include <algorithm>
#include <limits>

#include "core/check.h"
#include "core/dtype_names.h"
#include "nn/layer_checks.h"
#include "ops/convert.h"

namespace grouphead::nn {
namespace {

// Element `i` of a contiguous tensor.
ConfigValue element(const Tensor& tensor, Index i) {
  switch (tensor.dtype()) {
    case Dtype::f32:
      return static_cast<double>(tensor.data<float>()[i]);
    case Dtype::f64:
      return tensor.data<double>()[i];
    case Dtype::bf16:
      return static_cast<double>(to_float(tensor.data<Bf16>()[i]));
    case Dtype::f16:
      return static_cast<double>(to_float(tensor.data<F16>()[i]));
    case Dtype::boolean:
      return tensor.data<bool>()[i];
    case Dtype::u8:
      return Index{tensor.data<std::uint8_t>()[i]};
    case Dtype::i32:
      return Index{tensor.data<std::int32_t>()[i]};
    case Dtype::i64:
      return tensor.data<std::int64_t>()[i];
  }
  return {};
}

/// The integers of a type's name, and the type that holds them here.
struct IntegerType {
  std::string_view name;
  Dtype dtype;
  Index low;
  Index high;
};
template <class T>
constexpr IntegerType integer_type(std::string_view name, Dtype dtype) {
  using Limits = std::numeric_limits<T>;
  constexpr auto kHighest = static_cast<std::uint64_t>(std::numeric_limits<Index>::max());
  return {name, dtype, static_cast<Index>(Limits::min()),
          static_cast<Index>(std::min(static_cast<std::uint64_t>(Limits::max()), kHighest))};
}
constexpr IntegerType kIntegerTypes[] = {
    integer_type<std::int8_t>("int8", Dtype::i32),
    integer_type<std::int16_t>("int16", Dtype::i32),
    integer_type<std::int32_t>("int32", Dtype::i32),
    integer_type<std::int64_t>("int64", Dtype::i64),
    integer_type<std::uint8_t>("uint8", Dtype::u8),
    integer_type<std::uint16_t>("uint16", Dtype::i32),
    integer_type<std::uint32_t>("uint32", Dtype::i64),
    integer_type<std::uint64_t>("uint64", Dtype::i64),
};

const IntegerType* integer_type_of(std::string_view name) {
  const auto found = std::find_if(std::begin(kIntegerTypes), std::end(kIntegerTypes),
                                  [&](const IntegerType& type) { return type.name == name; });
  return found == std::end(kIntegerTypes) ? nullptr : found;
}

Index integer_in(const ConfigValue& value, const IntegerType& type) {
  const Index integer = value.as_integer("value");
  if (integer < type.low || integer > type.high) {
    core::throw_config_error("config", "value", "integers of " + std::string(type.name),
                             std::to_string(integer));
  }
  return integer;
}

/// Sets elements from the values of a file.
class ElementSetter {
 public:
  ElementSetter(Tensor& tensor, const IntegerType* integers)
      : tensor_(tensor), integers_(integers) {}

  void set(Index i, const ConfigValue& value) {
    switch (tensor_.dtype()) {
      case Dtype::f32:
        tensor_.data<float>()[i] = static_cast<float>(value.as_number("value"));
        return;
      case Dtype::f64:
        tensor_.data<double>()[i] = value.as_number("value");
        return;
      case Dtype::bf16:
        tensor_.data<Bf16>()[i] = to_bf16(static_cast<float>(value.as_number("value")));
        return;
      case Dtype::f16:
        tensor_.data<F16>()[i] = to_f16(static_cast<float>(value.as_number("value")));
        return;
      case Dtype::boolean:
        tensor_.data<bool>()[i] = value.as_bool("value");
        return;
      case Dtype::u8:
        tensor_.data<std::uint8_t>()[i] = static_cast<std::uint8_t>(integer_in(value, *integers_));
        return;
      case Dtype::i32:
        tensor_.data<std::int32_t>()[i] = static_cast<std::int32_t>(integer_in(value, *integers_));
        return;
      case Dtype::i64:
        tensor_.data<std::int64_t>()[i] = integer_in(value, *integers_);
        return;
    }
  }

 private:
  Tensor& tensor_;
  const IntegerType* integers_;  // of integers alone
};

ConfigValue nested(const Tensor& tensor, int axis, Index& next) {
  if (axis == tensor.rank()) return element(tensor, next++);
  ConfigValue::List list;
  for (Index i = 0; i < tensor.dim(axis); ++i) list.push_back(nested(tensor, axis + 1, next));
  return list;
}

// The first element of each list tells the size of the axes within.
Shape shape_of(const ConfigValue& value) {
  std::vector<Index> dims;
  for (const ConfigValue* inner = &value; inner->is_list();) {
    const ConfigValue::List& list = inner->as_list("value");
    dims.push_back(static_cast<Index>(list.size()));
    if (list.empty()) break;
    inner = &list.front();
  }
  return Shape(dims);
}

/// Refuses other lists than `shape` says, before memory is taken for it.
void require_regular(const ConfigValue& value, const Shape& shape, int axis) {
  if (axis == shape.rank()) return;
  const ConfigValue::List& list = value.as_list("value");
  if (static_cast<Index>(list.size()) != shape[axis]) {
    core::throw_config_error("config", "value", std::to_string(shape[axis]) + " elements",
                             std::to_string(list.size()));
  }
  if (axis + 1 == shape.rank()) return;
  for (const ConfigValue& inner : list) require_regular(inner, shape, axis + 1);
}

void fill(ElementSetter& setter, const ConfigValue& value, int axes, Index& next) {
  if (axes == 0) return setter.set(next++, value);
  for (const ConfigValue& inner : value.as_list("value")) fill(setter, inner, axes - 1, next);
}

/// Notes what kinds of values a nested list has.
void find_kinds(const ConfigValue& value, bool& has_bools, bool& has_fractions) {
  if (value.is_list()) {
    for (const ConfigValue& inner : value.as_list("value")) {
      find_kinds(inner, has_bools, has_fractions);
    }
  }
  has_bools = has_bools || value.is_bool();
  has_fractions = has_fractions || (value.is_number() && !value.is_integer());
}

}  // namespace

ConfigValue constant_to_config(const Tensor& tensor) {
  Index next = 0;
  ConfigValue config;
  config.set("value", nested(tensor, 0, next));
  config.set("dtype", core::keras_name(tensor.dtype()));
  ConfigValue envelope;
  envelope.set("class_name", "__numpy__");
  envelope.set("config", config);
  return envelope;
}

Tensor constant_from_config(const ConfigValue& config) {
  const ConfigValue& value = config["value"];
  const std::string& name = config["dtype"].as_string("dtype");
  const IntegerType* integers = integer_type_of(name);
  const Shape shape = shape_of(value);
  require_regular(value, shape, 0);
  Tensor tensor(shape, integers != nullptr ? integers->dtype : core::dtype_from_keras(name));
  ElementSetter setter(tensor, integers);
  Index next = 0;
  if (shape.size() > 0) fill(setter, value, shape.rank(), next);
  return tensor;
}

bool is_nested_list(const ConfigValue& value) {
  const ConfigValue* inner = &value;
  while (inner->is_list() && !inner->as_list("value").empty()) {
    inner = &inner->as_list("value").front();
  }
  return value.is_list() && (inner->is_bool() || inner->is_number());
}

Tensor constant_from_list(const ConfigValue& value) {
  bool has_bools = false;
  bool has_fractions = false;
  find_kinds(value, has_bools, has_fractions);
  const char* dtype = has_fractions ? "float32" : has_bools ? "bool" : "int32";
  return constant_from_config(ConfigValue::Object{{"value", value}, {"dtype", dtype}});
}

}  // namespace grouphead::nn
