// Layers, symbols and models as graphs of layers.

#include <nanobind/operators.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/vector.h>

#include "computing.h"
#include "config_values.h"
#include "grouphead/core/tensor_functions.h"
#include "grouphead/files/model_json.h"
#include "grouphead/layers/serialization.h"
#include "grouphead/models/conversion.h"
#include "grouphead/models/model.h"
#include "grouphead/models/symbol_operations.h"
#include "model_arrays.h"
#include "models.h"

namespace grouphead::python {
namespace {

using LayerPointer = std::shared_ptr<Layer>;

/// A parameter, which keeps its layer alive.
struct Variable {
  LayerPointer layer;
  NamedParameter named;
};

std::vector<Shape> shapes_from(nb::handle shapes) {
  std::vector<Shape> list;
  for (const nb::handle shape : nb::iter(shapes)) {
    list.push_back(shape.is_none() ? Shape() : shape_from(shape));
  }
  return list;
}

nb::list shapes_to(const std::vector<Shape>& shapes) {
  nb::list list;
  for (const Shape& shape : shapes) list.append(shape_to(shape));
  return list;
}

/// None, a Symbol or a NumPy array.
Operand operand_from(nb::handle object) {
  if (object.is_none()) return {};
  Symbol symbol;
  if (nb::try_cast(object, symbol)) return symbol;
  return tensor_from(object).clone();
}

std::vector<Symbol> connected(const LayerPointer& layer, nb::handle operands, nb::dict keywords) {
  std::vector<Operand> list;
  for (const nb::handle operand : nb::iter(operands)) list.push_back(operand_from(operand));
  Keywords settings;
  for (const auto& [key, value] : keywords) {
    const auto name = nb::cast<std::string>(key);
    const bool is_operand = nb::isinstance<Symbol>(value) ||
                            (nb::hasattr(value, "ndim") && nb::hasattr(value, "flags"));
    settings.add(is_operand ? Keywords::Entry(name, operand_from(value))
                            : Keywords::Entry(name, config_from(value)));
  }
  return connect(layer, list, settings).symbols();
}

Symbol operated(const std::string& class_name, nb::handle operands, nb::handle options) {
  std::vector<Term> terms;
  for (const nb::handle operand : nb::iter(operands)) {
    if (nb::isinstance<Symbol>(operand)) {
      terms.emplace_back(nb::cast<Symbol>(operand));
    } else if (nb::hasattr(operand, "flags")) {
      terms.emplace_back(tensor_from(operand).clone());
    } else if (nb::isinstance<nb::bool_>(operand)) {
      terms.emplace_back(nb::cast<bool>(operand));
    } else if (nb::isinstance<nb::int_>(operand)) {
      terms.emplace_back(nb::cast<Index>(operand));
    } else {
      terms.emplace_back(nb::cast<double>(operand));
    }
  }
  return operation(class_name, terms, config_from(options).as_object("options"));
}

struct CallResult {
  std::vector<Value> outputs;
  std::vector<double> losses;
};

/// What Keras's `layer(...)` computes.
CallResult called(const LayerPointer& layer, std::vector<Value> inputs, const ConfigValue& keywords,
                  bool training) {
  const Computing computing;
  const auto arguments = layer->arguments_from_config(keywords);
  StateUpdates updates;
  LossSink losses;
  const Mode mode = {
      .training = training, .losses = &losses, .updates = &updates, .arguments = arguments.get()};
  CallResult result{layer->call(computing.context(), inputs, mode, nullptr), {}};
  updates.apply(layer->parameters());
  result.losses = losses.losses();
  return result;
}

nb::tuple call(const LayerPointer& layer, nb::handle inputs, nb::handle masks, nb::handle keywords,
               bool training) {
  std::vector<Value> values;
  const std::vector<Tensor> given = tensors_from(masks);
  for (Tensor& tensor : tensors_from(inputs)) {
    Value value{std::move(tensor), {}};
    if (values.size() < given.size() && given[values.size()].has_value()) {
      value.mask = given[values.size()];
    }
    values.push_back(std::move(value));
  }
  CallResult result = called(layer, std::move(values), config_from(keywords), training);
  nb::list outputs, out_masks;
  for (Value& value : result.outputs) {
    outputs.append(array_from(std::move(value.tensor)));
    out_masks.append(value.mask ? array_from(std::move(*value.mask)) : nb::none());
  }
  return nb::make_tuple(outputs, out_masks, result.losses);
}

std::vector<Variable> variables_of(const LayerPointer& layer) {
  std::vector<Variable> variables;
  const Computing computing;
  for (NamedParameter& named : layer->parameters()) variables.push_back({layer, std::move(named)});
  return variables;
}

Tensor numbers_of(const Variable& variable) {
  const Computing computing;
  const ConstView value = variable.named.parameter->value();
  Tensor copied(value.shape(), value.dtype());
  copy(value, copied);
  return copied;
}

void assign(const Variable& variable, nb::handle array) {
  const Tensor given = tensor_from(array);
  const Computing computing;
  Parameter& parameter = *variable.named.parameter;
  if (given.shape() != parameter.shape()) {
    throw ShapeError("[assign] " + variable.named.path + ": expected shape " +
                     parameter.shape().to_string() + ", got " + given.shape().to_string());
  }
  copy(cast(given, parameter.dtype()), parameter.edit());
}

void define_symbol(nb::module_& m) {
  nb::class_<Symbol>(m, "Symbol")
      .def_prop_ro("shape", [](const Symbol& symbol) { return shape_to(symbol.shape()); })
      .def_prop_ro("dtype", [](const Symbol& symbol) { return dtype_to(symbol.dtype()); })
      .def_prop_ro("name", &Symbol::name)
      .def_prop_ro("output", &Symbol::output)
      .def_prop_ro("node",
                   [](const Symbol& symbol) {
                     return reinterpret_cast<std::uintptr_t>(symbol.node().get());
                   })
      .def("is_same", [](const Symbol& a, const Symbol& b) { return a == b; });
  m.def("input", [](nb::handle shape, std::optional<Index> batch_size, std::string_view dtype,
                    const std::string& name, bool optional) {
    const Shape axes = shape_from(shape);
    return input({.shape = {axes.begin(), axes.end()},
                  .batch_size = batch_size.value_or(-1),
                  .dtype = dtype_from(dtype),
                  .name = name,
                  .optional = optional});
  });
  m.def("connect", connected);
  m.def("operation", operated);
}

void define_layer(nb::module_& m) {
  nb::class_<Variable>(m, "Variable")
      .def_prop_ro("path", [](const Variable& one) { return one.named.path; })
      .def_prop_ro("name", [](const Variable& one) { return one.named.parameter->name(); })
      .def_prop_ro("shape",
                   [](const Variable& one) { return shape_to(one.named.parameter->shape()); })
      .def_prop_ro("dtype",
                   [](const Variable& one) { return dtype_to(one.named.parameter->dtype()); })
      .def_prop_rw(
          "trainable", [](const Variable& one) { return one.named.parameter->trainable(); },
          [](Variable& one, bool trainable) { one.named.parameter->set_trainable(trainable); })
      .def("numpy", [](const Variable& one) { return array_from(numbers_of(one)); })
      .def("assign", assign);
  nb::class_<Layer>(m, "Layer")
      .def_prop_ro("class_name", &Layer::class_name)
      .def_prop_rw("name", &Layer::name, &Layer::rename)
      .def_prop_ro("policy", [](const Layer& layer) { return layer.policy().name(); })
      .def_prop_rw("trainable", &Layer::trainable,
                   [](Layer& layer, bool trainable) {
                     const Computing computing;
                     layer.set_trainable(trainable);
                   })
      .def_prop_ro("is_built", &Layer::is_built)
      .def_prop_ro("input_names",
                   [](const Layer& layer) {
                     const auto names = layer.input_names();
                     return std::vector<std::string>(names.begin(), names.end());
                   })
      .def("get_config", [](const Layer& layer) { return config_to(layer.get_config()); })
      .def("envelope", [](const Layer& layer) { return config_to(layer_to_config(layer)); })
      .def("build",
           [](Layer& layer, nb::handle shapes, std::uint64_t seed) {
             const std::vector<Shape> list = shapes_from(shapes);
             const Computing computing;
             RandomStream random(seed);
             layer.build(list, random);
           })
      .def("build_once",  // of threads that call a new layer the first one builds it
           [](Layer& layer, nb::handle shapes, std::uint64_t seed) {
             const std::vector<Shape> list = shapes_from(shapes);
             const Computing computing;
             RandomStream random(seed);
             if (!layer.is_built()) layer.build(list, random);
           })
      .def("output_shapes",
           [](const Layer& layer, nb::handle shapes, nb::handle keywords) {
             const auto arguments = layer.arguments_from_config(config_from(keywords));
             return shapes_to(layer.output_shapes(shapes_from(shapes), arguments.get()));
           })
      .def("variables", variables_of)
      .def("call", call);
  m.def("layer_class_names", [] {
    const auto names = layer_class_names();
    return std::vector<std::string>(names.begin(), names.end());
  });
  m.def("make_layer", [](std::string_view class_name, nb::handle config) {
    return make_layer(class_name, config_from(config));
  });
  m.def("layer_from_config",
        [](nb::handle envelope) { return layer_from_config(config_from(envelope)); });
}

std::shared_ptr<Model> functional(const std::vector<Symbol>& inputs,
                                  const std::vector<Symbol>& outputs, const std::string& name,
                                  std::uint64_t seed, const std::vector<std::string>& input_keys,
                                  const std::vector<std::string>& output_keys) {
  const Computing computing;
  return std::make_shared<Model>(ModelConfig{.inputs = inputs,
                                             .outputs = outputs,
                                             .name = name,
                                             .seed = seed,
                                             .input_keys = input_keys,
                                             .output_keys = output_keys});
}

void define_model(nb::module_& m) {
  nb::class_<Model, Layer>(m, "Model")
      .def_prop_ro("inputs", &Model::inputs)
      .def_prop_ro("outputs", &Model::outputs)
      .def_prop_ro("input_keys", &Model::input_keys)
      .def_prop_ro("output_keys", &Model::output_keys)
      .def_prop_ro("output_names", &Model::output_names)
      .def_prop_ro("layers", &Model::layers)
      .def_prop_ro("has_graph", &Model::has_graph)
      .def("get_layer",
           [](const Model& model, std::string_view name) { return model.get_layer(name); })
      .def("summary", &Model::summary)
      .def("to_json", [](const Model& model, int indent) { return to_json(model, indent); })
      .def("model_envelope", [](const Model& model) { return config_to(model_to_config(model)); });
  nb::class_<Sequential, Model>(m, "Sequential")
      .def("add",
           [](Sequential& model, const LayerPointer& layer) {
             const Computing computing;
             model.add(layer);
           })
      .def("add_input", [](Sequential& model, const Symbol& symbol) {
        const Computing computing;
        model.add(symbol);
      });
  m.def("functional", functional);
  m.def("sequential", [](const std::string& name, bool trainable, std::uint64_t seed) {
    return std::make_shared<Sequential>(
        SequentialConfig{.name = name, .trainable = trainable, .seed = seed});
  });
  m.def("model_from_config", [](nb::handle envelope, std::uint64_t seed) {
    const ConfigValue config = config_from(envelope);
    const Computing computing;
    return model_from_config(config, seed);
  });
  m.def("model_from_json", [](std::string_view text, std::uint64_t seed) {
    const Computing computing;
    return model_from_json(text, seed);
  });
}

}  // namespace

void define_layers(nb::module_& m) {
  m.def("isa", [] { return name_of(Context().isa()); });
  m.def("available_isas", [] {
    std::vector<std::string_view> names;
    for (const Isa isa : available_isas()) names.push_back(name_of(isa));
    return names;
  });
  define_symbol(m);
  define_layer(m);
  define_model(m);
}

}  // namespace grouphead::python
