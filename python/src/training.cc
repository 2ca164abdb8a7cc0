// compile(), fit(), evaluate(), predict().

#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

#include <atomic>

#include "callbacks.h"
#include "computing.h"
#include "config_values.h"
#include "grouphead/models/model.h"
#include "grouphead/train/fit.h"
#include "model_arrays.h"
#include "models.h"
#include "trainer.h"

namespace grouphead::python {
namespace {

/// A tuple of lists: inputs, targets, sample weights. None is no data.
std::optional<Data> data_from(nb::handle object) {
  if (object.is_none()) return {};
  return Data{.x = tensors_from(object[0]),
              .y = tensors_from(object[1]),
              .sample_weight = tensors_from(object[2])};
}

/// Batches from a Python function of the epoch and the step.
BatchSource source_from(nb::handle function) {
  if (function.is_none()) return {};
  return [function](Index epoch, Index step) {
    const PythonsTurn turn;
    return data_from(function(epoch, step));
  };
}

/// What is between two steps: Ctrl-C is noticed, and whoever shows the training is told.
class BetweenSteps {
 public:
  BetweenSteps(nb::handle progress, std::atomic<bool>& stop) : progress_(progress), stop_(stop) {}

  void operator()(const FitProgress& at) {
    const PythonsTurn turn;
    try {
      if (PyErr_CheckSignals() != 0) nb::raise_python_error();
      if (progress_.is_none()) return;
      progress_(at.epoch, at.step, at.steps, at.epoch_is_over, logs_to(at.logs));
    } catch (nb::python_error& error) {
      if (!error.matches(PyExc_KeyboardInterrupt)) throw;
      stop_ = true;
    }
  }

 private:
  nb::handle progress_;
  std::atomic<bool>& stop_;
};

FitConfig fit_config(const nb::dict& options, std::atomic<bool>& stop) {
  FitConfig config;
  const auto number = [&](const char* key) { return nb::cast<Index>(options[key]); };
  config.batch_size = number("batch_size");
  config.epochs = number("epochs");
  config.initial_epoch = number("initial_epoch");
  config.steps_per_epoch = number("steps_per_epoch");
  config.validation_steps = number("validation_steps");
  config.validation_batch_size = number("validation_batch_size");
  config.validation_freq = number("validation_freq");
  config.validation_split = nb::cast<double>(options["validation_split"]);
  config.shuffle = nb::cast<bool>(options["shuffle"]);
  config.shuffle_seed = nb::cast<std::uint64_t>(options["shuffle_seed"]);
  config.class_weight = nb::cast<std::map<Index, double>>(options["class_weight"]);
  config.callbacks = callbacks_from(options["callbacks"], &stop);
  config.stop = &stop;
  const nb::object validation = options["validation"];
  if (nb::isinstance<nb::tuple>(validation)) {
    config.validation_data = data_from(validation);
  } else {
    config.validation_source = source_from(validation);
  }
  return config;
}

/// (numbers by name, epochs, whether Ctrl-C ended it)
nb::tuple fit(Trainer& trainer, nb::handle data, const nb::dict& options, nb::handle progress) {
  std::atomic<bool> stop = false;
  FitConfig config = fit_config(options, stop);
  BetweenSteps between(progress, stop);
  const bool has_arrays = nb::isinstance<nb::tuple>(data);
  const std::optional<Data> arrays = has_arrays ? data_from(data) : std::nullopt;
  const BatchSource source = has_arrays ? nullptr : source_from(data);
  const Trainer::Running running(trainer);
  config.progress = [&](const FitProgress& at) { between(at); };
  CompiledModel& model = trainer.compiled();
  History history;
  {
    const Computing computing;
    Context& ctx = computing.context();
    history = arrays ? model.fit(ctx, *arrays, config) : model.fit(ctx, source, config);
  }
  nb::dict series;
  for (const auto& [name, numbers] : history.series) series[name.c_str()] = numbers;
  return nb::make_tuple(series, history.epochs, stop.load());
}

nb::dict evaluate(Trainer& trainer, nb::handle data, Index batch_size, Index steps,
                  nb::handle callbacks) {
  const EvaluateConfig config = {
      .batch_size = batch_size, .steps = steps, .callbacks = callbacks_from(callbacks)};
  Logs logs;
  if (nb::isinstance<nb::tuple>(data)) {
    const Data arrays = *data_from(data);
    const Computing computing;
    logs = trainer.compiled().evaluate(computing.context(), arrays, config);
  } else {
    const BatchSource source = source_from(data);
    const Computing computing;
    logs = trainer.compiled().evaluate(computing.context(), source, config);
  }
  return logs_to(logs);
}

nb::list predict(Trainer& trainer, nb::handle inputs, Index batch_size) {
  const std::vector<Tensor> x = tensors_from(inputs);
  std::vector<Tensor> outputs;
  {
    const Computing computing;
    outputs = trainer.compiled().predict(computing.context(), x, batch_size);
  }
  return arrays_from(std::move(outputs));
}

/// The loss of one batch, and the metrics so far.
nb::tuple on_batch(Trainer& trainer, nb::handle batch, bool training, bool reset) {
  const Data data = *data_from(batch);
  double loss = 0;
  Logs logs;
  {
    const Computing computing;
    CompiledModel& compiled = trainer.compiled();
    if (reset) compiled.reset_metrics();
    loss = training ? compiled.train_on_batch(computing.context(), data)
                    : compiled.test_on_batch(computing.context(), data);
    logs = compiled.logs();
  }
  return nb::make_tuple(loss, logs_to(logs));
}

std::shared_ptr<Trainer> compiled(const std::shared_ptr<Model>& model, nb::handle settings,
                                  std::shared_ptr<Optimizer> optimizer) {
  const ConfigValue given = config_from(settings);
  const Computing computing;
  CompileConfig config = compile_config_from(given, *model);
  if (optimizer) config.optimizer = OptimizerChoice(std::move(optimizer));
  return std::make_shared<Trainer>(model, std::make_unique<CompiledModel>(*model, config));
}

std::shared_ptr<Optimizer> optimizer_of(const std::shared_ptr<Trainer>& trainer) {
  if (!trainer->compiled().has_optimizer()) return nullptr;
  return {trainer, &trainer->compiled().optimizer()};  // it lives as long as the trainer
}

}  // namespace

void define_training(nb::module_& m) {
  nb::class_<Trainer>(m, "Trainer")
      .def("fit", fit, nb::arg(), nb::arg(), nb::arg().none())
      .def("evaluate", evaluate)
      .def("predict", predict)
      .def("on_batch", on_batch)
      .def("reset_metrics", [](Trainer& one) { one.compiled().reset_metrics(); })
      .def("compile_config",
           [](Trainer& one) { return config_to(one.compiled().compile_config()); })
      .def_prop_ro("optimizer",
                   [](const std::shared_ptr<Trainer>& one) { return optimizer_of(one); })
      .def_prop_rw(
          "stop_training", [](Trainer& one) { return one.compiled().stop_training; },
          [](Trainer& one, bool stop) { one.compiled().stop_training = stop; });
  m.def("compile", compiled, nb::arg(), nb::arg(), nb::arg().none());
}

}  // namespace grouphead::python
