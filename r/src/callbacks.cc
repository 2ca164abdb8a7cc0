#include "callbacks.h"

#include "grouphead/files/backup_and_restore.h"
#include "grouphead/files/saved_model.h"
#include "grouphead/files/weights.h"
#include "grouphead/train/fit.h"
#include "grouphead/train/keras_callbacks.h"
#include "handles.h"
#include "values.h"

namespace gr {
namespace {

using CallbackPtr = std::shared_ptr<gh::Callback>;

// Settings that Keras's callbacks have in common.
std::optional<double> number_or_none(SEXP config, const char* name) {
  const SEXP value = entry(config, name);
  return Rf_isNull(value) ? std::optional<double>() : to_number(value, name);
}
// "epoch" is 0.
gh::Index frequency(SEXP config, const char* name) {
  const SEXP value = entry(config, name);
  if (TYPEOF(value) != STRSXP) return to_index(value, name);
  if (to_text(value, name) != "epoch") refuse(name, "\"epoch\" or a number of batches", value);
  return 0;
}
gh::Index index_at(SEXP config, const char* name) { return to_index(entry(config, name), name); }
double number_at(SEXP config, const char* name) { return to_number(entry(config, name), name); }
bool flag_at(SEXP config, const char* name) { return to_flag(entry(config, name), name); }
std::string text_at(SEXP config, const char* name) { return to_text(entry(config, name), name); }

CallbackPtr early_stopping(SEXP config) {
  return std::make_shared<gh::EarlyStopping>(
      gh::EarlyStoppingConfig{.monitor = text_at(config, "monitor"),
                              .min_delta = number_at(config, "min_delta"),
                              .patience = index_at(config, "patience"),
                              .mode = text_at(config, "mode"),
                              .baseline = number_or_none(config, "baseline"),
                              .restore_best_weights = flag_at(config, "restore_best_weights"),
                              .start_from_epoch = index_at(config, "start_from_epoch")});
}

CallbackPtr model_checkpoint(SEXP config) {
  const bool weights_only = flag_at(config, "save_weights_only");
  const auto save = [weights_only](const gh::CompiledModel& model,
                                   const std::filesystem::path& file) {
    if (weights_only) {
      gh::save_weights(model, file);
    } else {
      gh::save_model(model, file);
    }
  };
  return std::make_shared<gh::ModelCheckpoint>(
      gh::ModelCheckpointConfig{
          .filepath = text_at(config, "filepath"),
          .monitor = text_at(config, "monitor"),
          .save_best_only = flag_at(config, "save_best_only"),
          .mode = text_at(config, "mode"),
          .save_freq = frequency(config, "save_freq"),
          .initial_value_threshold = number_or_none(config, "initial_value_threshold")},
      save);
}

CallbackPtr reduce_lr_on_plateau(SEXP config) {
  return std::make_shared<gh::ReduceLROnPlateau>(
      gh::ReduceLROnPlateauConfig{.monitor = text_at(config, "monitor"),
                                  .factor = number_at(config, "factor"),
                                  .patience = index_at(config, "patience"),
                                  .mode = text_at(config, "mode"),
                                  .min_delta = number_at(config, "min_delta"),
                                  .cooldown = index_at(config, "cooldown"),
                                  .min_lr = number_at(config, "min_lr")});
}

CallbackPtr learning_rate_scheduler(SEXP config) {
  const cpp11::sexp schedule = entry(config, "schedule");
  return std::make_shared<gh::LearningRateScheduler>([schedule](gh::Index epoch, double rate) {
    const cpp11::sexp result = call_function(
        schedule,
        {cpp11::safe[Rf_ScalarInteger](static_cast<int>(epoch)), cpp11::safe[Rf_ScalarReal](rate)});
    return to_number(result, "schedule");
  });
}

CallbackPtr terminate_on_nan(SEXP /*config*/) { return std::make_shared<gh::TerminateOnNaN>(); }

CallbackPtr csv_logger(SEXP config) {
  return std::make_shared<gh::CSVLogger>(text_at(config, "filename"), text_at(config, "separator"),
                                         flag_at(config, "append"));
}

CallbackPtr swap_ema_weights(SEXP config) {
  return std::make_shared<gh::SwapEMAWeights>(
      gh::SwapEMAWeightsConfig{.swap_on_epoch = flag_at(config, "swap_on_epoch")});
}

CallbackPtr tensorboard(SEXP config) {
  return std::make_shared<gh::TensorBoard>(gh::TensorBoardConfig{
      .log_dir = text_at(config, "log_dir"), .update_freq = frequency(config, "update_freq")});
}

CallbackPtr backup_and_restore(SEXP config) {
  return std::make_shared<gh::BackupAndRestore>(
      gh::BackupAndRestoreConfig{.backup_dir = text_at(config, "backup_dir"),
                                 .save_freq = frequency(config, "save_freq"),
                                 .delete_checkpoint = flag_at(config, "delete_checkpoint")});
}

/// Functions of R in a callback's place.
class Functions final : public gh::Callback {
 public:
  explicit Functions(SEXP config) : functions_(config) {}
  void on_train_begin(gh::CompiledModel&) override { run("on_train_begin", {}); }
  void on_train_end(gh::CompiledModel&) override { run("on_train_end", {}); }
  void on_epoch_begin(gh::CompiledModel&, gh::Index epoch) override {
    run("on_epoch_begin", epoch, {});
  }
  void on_epoch_end(gh::CompiledModel&, gh::Index epoch, const gh::Logs& logs) override {
    run("on_epoch_end", epoch, logs);
  }
  void on_train_batch_begin(gh::CompiledModel&, gh::Index batch) override {
    run("on_train_batch_begin", batch, {});
  }
  void on_train_batch_end(gh::CompiledModel&, gh::Index batch, const gh::Logs& logs) override {
    run("on_train_batch_end", batch, logs);
  }

 private:
  void run(const char* name, std::optional<gh::Index> place, const gh::Logs& logs = {}) const {
    const SEXP function = entry(functions_, name);
    if (Rf_isNull(function)) return;
    std::vector<cpp11::sexp> arguments;
    if (place) {
      arguments.emplace_back(cpp11::safe[Rf_ScalarInteger](static_cast<int>(*place)));
    }
    arguments.emplace_back(from_logs(logs));
    call_function(function, arguments);
  }

  cpp11::sexp functions_;
};

CallbackPtr lambda(SEXP config) { return std::make_shared<Functions>(config); }

struct Entry {
  const char* class_name;
  CallbackPtr (*make)(SEXP config);
};
constexpr Entry kEntries[] = {
    {"BackupAndRestore", backup_and_restore},
    {"CSVLogger", csv_logger},
    {"EarlyStopping", early_stopping},
    {"LambdaCallback", lambda},
    {"LearningRateScheduler", learning_rate_scheduler},
    {"ModelCheckpoint", model_checkpoint},
    {"ReduceLROnPlateau", reduce_lr_on_plateau},
    {"SwapEMAWeights", swap_ema_weights},
    {"TensorBoard", tensorboard},
    {"TerminateOnNaN", terminate_on_nan},
};

}  // namespace

std::vector<CallbackPtr> to_callbacks(SEXP list) {
  std::vector<CallbackPtr> callbacks;
  for (R_xlen_t i = 0; i < Rf_xlength(list); ++i) {
    const SEXP description = description_of(VECTOR_ELT(list, i));
    if (Rf_isNull(description)) refuse("callbacks", "callbacks", VECTOR_ELT(list, i));
    const std::string name = text_at(description, "class_name");
    const CallbackPtr* made = nullptr;
    for (const Entry& known : kEntries) {
      if (name != known.class_name) continue;
      callbacks.push_back(known.make(entry(description, "config")));
      made = &callbacks.back();
    }
    if (made == nullptr) throw gh::ConfigError("[R] callbacks: expected callbacks, got " + name);
  }
  return callbacks;
}

cpp11::sexp call_function(SEXP function, const std::vector<cpp11::sexp>& arguments) {
  cpp11::sexp call = R_NilValue;
  for (auto i = arguments.rbegin(); i != arguments.rend(); ++i) {
    call = cpp11::safe[Rf_cons](static_cast<SEXP>(*i), static_cast<SEXP>(call));
  }
  call = cpp11::safe[Rf_lcons](function, static_cast<SEXP>(call));
  return cpp11::safe[Rf_eval](static_cast<SEXP>(call), R_GlobalEnv);
}

SEXP from_logs(const gh::Logs& logs) {
  NamedList list;
  for (const auto& [name, value] : logs) list.add(name, cpp11::safe[Rf_ScalarReal](value));
  return list.get();
}

}  // namespace gr
