#include "graph/constant_config.h"

#include "core/check.h"
#include "core/dtype_names.h"
#include "nn/layer_checks.h"
#include "ops/convert.h"

namespace grouphead::detail {
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

void set_element(Tensor& tensor, Index i, const ConfigValue& value) {
  switch (tensor.dtype()) {
    case Dtype::f32:
      tensor.data<float>()[i] = static_cast<float>(value.as_number("value"));
      return;
    case Dtype::f64:
      tensor.data<double>()[i] = value.as_number("value");
      return;
    case Dtype::bf16:
      tensor.data<Bf16>()[i] = to_bf16(static_cast<float>(value.as_number("value")));
      return;
    case Dtype::f16:
      tensor.data<F16>()[i] = to_f16(static_cast<float>(value.as_number("value")));
      return;
    case Dtype::boolean:
      tensor.data<bool>()[i] = value.as_bool("value");
      return;
    case Dtype::u8:
      tensor.data<std::uint8_t>()[i] = static_cast<std::uint8_t>(value.as_integer("value"));
      return;
    case Dtype::i32:
      tensor.data<std::int32_t>()[i] = static_cast<std::int32_t>(value.as_integer("value"));
      return;
    case Dtype::i64:
      tensor.data<std::int64_t>()[i] = value.as_integer("value");
      return;
  }
}

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

void fill(Tensor& tensor, const ConfigValue& value, int axis, Index& next) {
  if (axis == tensor.rank()) return set_element(tensor, next++, value);
  const ConfigValue::List& list = value.as_list("value");
  if (static_cast<Index>(list.size()) != tensor.dim(axis)) {
    throw_config_error("config", "value", std::to_string(tensor.dim(axis)) + " elements",
                       std::to_string(list.size()));
  }
  for (const ConfigValue& inner : list) fill(tensor, inner, axis + 1, next);
}

}  // namespace

ConfigValue constant_to_config(const Tensor& tensor) {
  Index next = 0;
  ConfigValue config;
  config.set("value", nested(tensor, 0, next));
  config.set("dtype", keras_name(tensor.dtype()));
  ConfigValue envelope;
  envelope.set("class_name", "__numpy__");
  envelope.set("config", config);
  return envelope;
}

Tensor constant_from_config(const ConfigValue& config) {
  const ConfigValue& value = config["value"];
  Tensor tensor(shape_of(value), dtype_from_keras(config["dtype"].as_string("dtype")));
  Index next = 0;
  fill(tensor, value, 0, next);
  return tensor;
}

}  // namespace grouphead::detail
