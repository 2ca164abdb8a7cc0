// Callbacks: the library's by Keras's names, and Python's own.

#include "callbacks.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>

#include <functional>
#include <map>

#include "computing.h"
#include "config_values.h"
#include "grouphead/files/backup_and_restore.h"
#include "grouphead/files/saved_model.h"
#include "grouphead/files/weights.h"
#include "grouphead/train/fit.h"
#include "grouphead/train/keras_callbacks.h"
#include "models.h"

namespace grouphead::python {
namespace {

/// Calls the methods of a Python object, with Python's lock.
class PythonCallback final : public Callback {
 public:
  PythonCallback(nb::object callback, std::atomic<bool>* stop)
      : callback_(std::move(callback)), stop_(stop) {}
  ~PythonCallback() override {
    const nb::gil_scoped_acquire gil;
    callback_.reset();
  }
  PythonCallback(const PythonCallback&) = delete;
  PythonCallback& operator=(const PythonCallback&) = delete;

  void on_train_begin(CompiledModel& /*model*/) override { call("on_train_begin", {}); }
  void on_epoch_begin(CompiledModel& /*model*/, Index epoch) override {
    call("on_epoch_begin", epoch);
  }
  void on_train_batch_begin(CompiledModel& /*model*/, Index batch) override {
    call("on_train_batch_begin", batch);
  }
  void on_train_batch_end(CompiledModel& /*model*/, Index batch, const Logs& logs) override {
    call("on_train_batch_end", batch, logs);
  }
  void on_epoch_end(CompiledModel& /*model*/, Index epoch, const Logs& logs) override {
    call("on_epoch_end", epoch, logs);
  }
  void on_train_end(CompiledModel& /*model*/) override { call("on_train_end", {}); }
  void on_test_begin(CompiledModel& /*model*/) override { call("on_test_begin", {}); }
  void on_test_end(CompiledModel& /*model*/, const Logs& logs) override {
    call("on_test_end", {}, logs);
  }

 private:
  void call(const char* method, std::optional<Index> number, const Logs& logs = {}) {
    const PythonsTurn turn;
    try {
      const nb::object bound = callback_.attr(method);
      if (number) {
        bound(*number, logs_to(logs));
      } else {
        bound(logs_to(logs));
      }
    } catch (nb::python_error& error) {
      if (stop_ == nullptr || !error.matches(PyExc_KeyboardInterrupt)) throw;
      *stop_ = true;
    }
  }

  nb::object callback_;
  std::atomic<bool>* stop_;
};

/// Reads the options of a callback, which Python's constructor has completed.
class Options {
 public:
  explicit Options(nb::handle config) : config_(config_from(config)) {}
  double number(std::string_view key) const { return config_[key].as_number(key); }
  Index integer(std::string_view key) const { return config_[key].as_integer(key); }
  bool boolean(std::string_view key) const { return config_[key].as_bool(key); }
  std::string string(std::string_view key) const { return config_[key].as_string(key); }
  std::optional<double> number_or_none(std::string_view key) const {
    return config_[key].is_null() ? std::optional<double>() : number(key);
  }
  /// Batches between two events; 0 for the word that means "each epoch".
  Index frequency(std::string_view key) const {
    if (config_[key] == ConfigValue("epoch")) return 0;
    if (config_[key] == ConfigValue("batch")) return 1;
    return integer(key);
  }

 private:
  ConfigValue config_;
};

using Made = std::shared_ptr<Callback>;

Made early_stopping(const Options& o) {
  return std::make_shared<EarlyStopping>(
      EarlyStoppingConfig{.monitor = o.string("monitor"),
                          .min_delta = o.number("min_delta"),
                          .patience = o.integer("patience"),
                          .mode = o.string("mode"),
                          .baseline = o.number_or_none("baseline"),
                          .restore_best_weights = o.boolean("restore_best_weights"),
                          .start_from_epoch = o.integer("start_from_epoch")});
}

Made model_checkpoint(const Options& o) {
  const bool weights_only = o.boolean("save_weights_only");
  return std::make_shared<ModelCheckpoint>(
      ModelCheckpointConfig{.filepath = o.string("filepath"),
                            .monitor = o.string("monitor"),
                            .save_best_only = o.boolean("save_best_only"),
                            .mode = o.string("mode"),
                            .save_freq = o.frequency("save_freq"),
                            .initial_value_threshold = o.number_or_none("initial_value_threshold")},
      [weights_only](const CompiledModel& model, const std::filesystem::path& file) {
        if (weights_only) {
          save_weights(model, file);
        } else {
          save_model(model, file, {.allow_own_options = true});
        }
      });
}

Made reduce_lr_on_plateau(const Options& o) {
  return std::make_shared<ReduceLROnPlateau>(
      ReduceLROnPlateauConfig{.monitor = o.string("monitor"),
                              .factor = o.number("factor"),
                              .patience = o.integer("patience"),
                              .mode = o.string("mode"),
                              .min_delta = o.number("min_delta"),
                              .cooldown = o.integer("cooldown"),
                              .min_lr = o.number("min_lr")});
}

Made make_callback(std::string_view class_name, const Options& o) {
  if (class_name == "EarlyStopping") return early_stopping(o);
  if (class_name == "ModelCheckpoint") return model_checkpoint(o);
  if (class_name == "ReduceLROnPlateau") return reduce_lr_on_plateau(o);
  if (class_name == "CSVLogger") {
    return std::make_shared<CSVLogger>(o.string("filename"), o.string("separator"),
                                       o.boolean("append"));
  }
  if (class_name == "TerminateOnNaN") return std::make_shared<TerminateOnNaN>();
  if (class_name == "SwapEMAWeights") {
    return std::make_shared<SwapEMAWeights>(
        SwapEMAWeightsConfig{.swap_on_epoch = o.boolean("swap_on_epoch")});
  }
  if (class_name == "TensorBoard") {
    return std::make_shared<TensorBoard>(TensorBoardConfig{
        .log_dir = o.string("log_dir"), .update_freq = o.frequency("update_freq")});
  }
  if (class_name == "BackupAndRestore") {
    return std::make_shared<BackupAndRestore>(
        BackupAndRestoreConfig{.backup_dir = o.string("backup_dir"),
                               .save_freq = o.frequency("save_freq"),
                               .delete_checkpoint = o.boolean("delete_checkpoint")});
  }
  throw nb::value_error(("unknown callback " + std::string(class_name)).c_str());
}

}  // namespace

std::vector<Made> callbacks_from(nb::handle callbacks, std::atomic<bool>* stop) {
  std::vector<Made> made;
  for (const nb::handle callback : nb::iter(callbacks)) {
    if (nb::isinstance<Callback>(callback)) {
      made.push_back(nb::cast<Made>(callback));
    } else {
      made.push_back(std::make_shared<PythonCallback>(nb::borrow(callback), stop));
    }
  }
  return made;
}

nb::dict logs_to(const Logs& logs) {
  nb::dict dict;
  for (const auto& [name, number] : logs) dict[name.c_str()] = number;
  return dict;
}

void define_callbacks(nb::module_& m) {
  nb::class_<Callback>(m, "Callback");
  nb::class_<EarlyStopping, Callback>(m, "EarlyStopping")
      .def_prop_ro("stopped_epoch", &EarlyStopping::stopped_epoch)
      .def_prop_ro("best_epoch", &EarlyStopping::best_epoch);
  m.def("make_callback", [](const std::string& class_name, nb::handle config) {
    return make_callback(class_name, Options(config));
  });
}

}  // namespace grouphead::python
