// What layers and compile() are given by name, configuration or object: initializers,
// regularizers, constraints, losses, metrics, optimizers, learning rates.

#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/vector.h>

#include "computing.h"
#include "config_values.h"
#include "grouphead/core/tensor_functions.h"
#include "grouphead/layers/constraints.h"
#include "grouphead/layers/initializers.h"
#include "grouphead/layers/regularizers.h"
#include "grouphead/train/losses.h"
#include "grouphead/train/metrics.h"
#include "grouphead/train/optimizers.h"
#include "model_arrays.h"
#include "models.h"

namespace grouphead::python {
namespace {

/// The envelope of what `identifier` names, with every default filled in. Errors: ConfigError.
template <class Rule>
nb::object completed(nb::handle identifier) {
  return config_to(Choice<Rule>(config_from(identifier)).config());
}

Tensor initial_numbers(nb::handle identifier, nb::handle shape, std::string_view dtype,
                       std::uint64_t seed) {
  const Initializer initializer(config_from(identifier));
  Tensor tensor = Tensor::zeros(shape_from(shape), dtype_from(dtype));
  RandomStream random(seed);
  initializer->fill(tensor.view(), fans_of(tensor.shape()), random);
  return tensor;
}

Tensor constrained(nb::handle identifier, nb::handle array) {
  const Constraint constraint(config_from(identifier));
  Tensor tensor = tensor_from(array).clone();
  const Computing computing;
  constraint->apply(computing.context(), tensor.view());
  return tensor;
}

double penalty(nb::handle identifier, nb::handle array) {
  const Regularizer regularizer(config_from(identifier));
  const Tensor tensor = tensor_from(array);
  const Computing computing;
  return regularizer->value(computing.context(), tensor);
}

/// Operands that keep their elements.
struct Compared {
  Compared(nb::handle y_true, nb::handle y_pred, nb::handle weights)
      : target(tensor_from(y_true)),
        prediction(tensor_from(y_pred)),
        sample_weight(tensor_from(weights)) {
    if (prediction.dtype() != Dtype::f32 && prediction.dtype() != Dtype::f64) {
      prediction = cast(prediction, Dtype::f32);
    }
  }
  LossOperands operands() const {
    return {.target = target.view(),
            .prediction = prediction.view(),
            .sample_weight = sample_weight.view()};
  }
  Tensor target, prediction, sample_weight;
};

nb::object loss_value(nb::handle identifier, nb::handle y_true, nb::handle y_pred,
                      nb::handle weights) {
  const Loss loss(config_from(identifier));
  const Compared compared(y_true, y_pred, weights);
  LossResult result;
  {
    const Computing computing;
    if (loss->reduction() == Reduction::none) {
      result = loss->value_and_gradient(computing.context(), compared.operands());
    } else {
      result.value = loss->value(computing.context(), compared.operands());
    }
  }
  if (result.values.has_value()) return array_from(std::move(result.values));
  return nb::float_(result.value);
}

void define_metric(nb::module_& m) {
  nb::class_<Metric>(m, "Metric")
      .def_prop_rw("name", &Metric::name, &Metric::rename)
      .def_prop_ro("class_name", &Metric::class_name)
      .def("get_config", [](const Metric& metric) { return config_to(metric.get_config()); })
      .def(
          "update_state",
          [](Metric& metric, nb::handle y_true, nb::handle y_pred, nb::handle weights) {
            const Compared compared(y_true, y_pred, weights);
            const Computing computing;
            metric.update(computing.context(), compared.operands());
          },
          nb::arg().none(), nb::arg(), nb::arg().none())
      .def("result", &Metric::result)
      .def("reset_state", &Metric::reset);
  m.def("make_metric",
        [](nb::handle identifier) { return Metric::from_config(config_from(identifier)); });
}

void define_optimizer(nb::module_& m) {
  nb::class_<Optimizer>(m, "Optimizer")
      .def_prop_ro("class_name", &Optimizer::class_name)
      .def_prop_ro("name", &Optimizer::name)
      .def_prop_ro("is_built", &Optimizer::is_built)
      .def_prop_ro("scales_loss", &Optimizer::scales_loss)
      .def_prop_rw("iterations", &Optimizer::iterations, &Optimizer::set_iterations)
      .def_prop_rw("learning_rate", &Optimizer::learning_rate, &Optimizer::set_learning_rate)
      .def("get_config", [](const Optimizer& one) { return config_to(one.get_config()); })
      .def("envelope", [](const Optimizer& one) { return config_to(one.config()); })
      .def("variables", [](const Optimizer& one) {
        std::vector<std::pair<std::string, Tensor>> copied;
        {
          const Computing computing;
          for (const OptimizerVariable& variable : one.variables()) {
            copied.emplace_back(variable.path, variable.value.clone());
          }
        }
        nb::list list;
        for (auto& [path, value] : copied) {
          list.append(nb::make_tuple(path, array_from(std::move(value))));
        }
        return list;
      });
  m.def("make_optimizer",
        [](nb::handle identifier) { return Optimizer::from_config(config_from(identifier)); });
}

}  // namespace

void define_rules(nb::module_& m) {
  m.def("initializer", completed<InitializerRule>);
  m.def("regularizer", completed<RegularizerRule>);
  m.def("constraint", completed<ConstraintRule>);
  m.def("loss", completed<LossRule>);
  m.def("schedule", [](nb::handle identifier) {
    return config_to(LearningRate::from_config(config_from(identifier)).config());
  });
  m.def("initial_numbers",
        [](nb::handle identifier, nb::handle shape, std::string_view dtype, std::uint64_t seed) {
          return array_from(initial_numbers(identifier, shape, dtype, seed));
        });
  m.def("constrained", [](nb::handle identifier, nb::handle array) {
    return array_from(constrained(identifier, array));
  });
  m.def("penalty", penalty);
  m.def("loss_value", loss_value, nb::arg(), nb::arg(), nb::arg(), nb::arg().none());
  m.def("learning_rate_at", [](nb::handle identifier, Index step) {
    return LearningRate::from_config(config_from(identifier))(step);
  });
  define_metric(m);
  define_optimizer(m);
}

}  // namespace grouphead::python
