#pragma once

#include <filesystem>
#include <functional>
#include <iosfwd>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "grouphead/core/tensor.h"

#pragma GCC visibility push(default)
namespace grouphead {

class CompiledModel;

/// Names and numbers, in Keras's order: loss, metrics, losses of the outputs, then `val_...`.
using Logs = std::vector<std::pair<std::string, double>>;
/// The number of this name; absent when there is none.
std::optional<double> find(const Logs& logs, std::string_view name);

/// What CompiledModel::fit() calls. CompiledModel::stop_training ends the training after the batch.
/// Source: keras.callbacks.Callback.
class Callback {
 public:
  virtual ~Callback() = default;
  virtual void on_train_begin(CompiledModel& model);
  virtual void on_epoch_begin(CompiledModel& model, Index epoch);
  virtual void on_train_batch_begin(CompiledModel& model, Index batch);
  /// Logs are means over the epoch so far.
  virtual void on_train_batch_end(CompiledModel& model, Index batch, const Logs& logs);
  virtual void on_epoch_end(CompiledModel& model, Index epoch, const Logs& logs);
  virtual void on_train_end(CompiledModel& model);
  /// Around evaluate(), and around the validation of each epoch.
  virtual void on_test_begin(CompiledModel& model);
  virtual void on_test_end(CompiledModel& model, const Logs& logs);
};

/// Functions in a callback's place; each may be empty. Source: keras.callbacks.LambdaCallback.
class LambdaCallback final : public Callback {
 public:
  struct Functions {
    std::function<void(CompiledModel&)> on_train_begin{};
    std::function<void(CompiledModel&, Index epoch)> on_epoch_begin{};
    std::function<void(CompiledModel&, Index batch, const Logs&)> on_train_batch_end{};
    std::function<void(CompiledModel&, Index epoch, const Logs&)> on_epoch_end{};
    std::function<void(CompiledModel&)> on_train_end{};
  };
  explicit LambdaCallback(Functions functions) : functions_(std::move(functions)) {}
  void on_train_begin(CompiledModel& model) override;
  void on_epoch_begin(CompiledModel& model, Index epoch) override;
  void on_train_batch_end(CompiledModel& model, Index batch, const Logs& logs) override;
  void on_epoch_end(CompiledModel& model, Index epoch, const Logs& logs) override;
  void on_train_end(CompiledModel& model) override;

 private:
  Functions functions_;
};

/// Compares a number of the logs with the best one so far.
class Monitor {
 public:
  enum class Mode : int { automatic, min, max };
  /// Errors: ConfigError for another mode than `auto`, `min` or `max`.
  Monitor(std::string name, std::string_view mode, double min_delta);
  /// The number in the logs; absent after an epoch without validation, where other epochs have one.
  /// Errors: ConfigError where the mode is `auto` and the name is none of loss and the metrics, or
  /// where the logs never have such a number.
  std::optional<double> value(const CompiledModel& model, const Logs& logs);
  /// After value(): whether it is better than the reference by more than min_delta.
  bool improves(double value, const std::optional<double>& reference) const;
  const std::string& name() const noexcept { return name_; }

 private:
  std::string name_;
  Mode mode_;
  double min_delta_;
};

struct EarlyStoppingConfig {
  std::string monitor = "val_loss";
  double min_delta = 0;
  Index patience = 0;
  std::string mode = "auto";
  std::optional<double> baseline{};
  bool restore_best_weights = false;
  Index start_from_epoch = 0;
};

/// Ends the training when a number no longer improves. Epochs without it do not count. Source:
/// keras.callbacks.EarlyStopping.
class EarlyStopping final : public Callback {
 public:
  explicit EarlyStopping(const EarlyStoppingConfig& config = {});
  void on_train_begin(CompiledModel& model) override;
  void on_epoch_end(CompiledModel& model, Index epoch, const Logs& logs) override;
  void on_train_end(CompiledModel& model) override;
  /// The epoch that was the last; absent when the training was not ended.
  std::optional<Index> stopped_epoch() const noexcept { return stopped_epoch_; }
  Index best_epoch() const noexcept { return best_epoch_; }

 private:
  EarlyStoppingConfig config_;
  Monitor monitor_;
  Index wait_ = 0;
  Index best_epoch_ = 0;
  std::optional<double> best_;
  std::optional<Index> stopped_epoch_;
  std::vector<Tensor> best_weights_;
};

struct ModelCheckpointConfig {
  /// `{epoch:02d}-{val_loss:.2f}`: the epoch from 1, and numbers of the logs.
  std::string filepath{};
  std::string monitor = "val_loss";
  bool save_best_only = false;
  std::string mode = "auto";
  Index save_freq = 0;  ///< batches between savings; 0: at the end of each epoch
  std::optional<double> initial_value_threshold{};  ///< the best so far
};

/// Saves through a function, such as save_weights(). After an epoch without validation
/// save_best_only saves too, as in Keras, but for a filepath that names a number of the validation.
/// Source: keras.callbacks.ModelCheckpoint.
class ModelCheckpoint final : public Callback {
 public:
  using Save = std::function<void(const CompiledModel& model, const std::filesystem::path& file)>;
  /// Errors: ConfigError.
  ModelCheckpoint(const ModelCheckpointConfig& config, Save save);
  void on_epoch_begin(CompiledModel& model, Index epoch) override;
  void on_train_batch_end(CompiledModel& model, Index batch, const Logs& logs) override;
  void on_epoch_end(CompiledModel& model, Index epoch, const Logs& logs) override;

 private:
  void save(const CompiledModel& model, Index batch, const Logs& logs);

  ModelCheckpointConfig config_;
  Save save_;
  Monitor monitor_;
  std::optional<double> best_;
  Index epoch_ = 0;
  Index unsaved_batches_ = 0;
};

/// A line of numbers for each epoch, columns as Keras writes them. Source:
/// keras.callbacks.CSVLogger.
class CSVLogger final : public Callback {
 public:
  explicit CSVLogger(std::filesystem::path file, std::string separator = ",", bool append = false);
  ~CSVLogger() override;
  /// Errors: IoError.
  void on_train_begin(CompiledModel& model) override;
  void on_epoch_end(CompiledModel& model, Index epoch, const Logs& logs) override;
  void on_train_end(CompiledModel& model) override;

 private:
  std::filesystem::path file_;
  std::string separator_;
  bool append_;
  bool writes_header_ = true;
  std::unique_ptr<std::ostream> out_;  // open during a training
  std::vector<std::string> columns_;
};

}  // namespace grouphead
#pragma GCC visibility pop
