#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "grouphead/train/callbacks.h"

#pragma GCC visibility push(default)
namespace grouphead {

struct ReduceLROnPlateauConfig {
  std::string monitor = "val_loss";
  double factor = 0.1;  ///< below 1
  Index patience = 10;
  std::string mode = "auto";
  double min_delta = 1e-4;
  Index cooldown = 0;  ///< epochs after a reduction that do not count
  double min_lr = 0;
};

/// Multiplies the learning rate by `factor` when a number no longer improves.
/// Epochs without it do not count. Errors: ConfigError where the learning rate
/// is a schedule. Source: keras.callbacks.ReduceLROnPlateau.
class ReduceLROnPlateau final : public Callback {
 public:
  /// Errors: ConfigError for a factor of 1 or more.
  explicit ReduceLROnPlateau(const ReduceLROnPlateauConfig& config = {});
  void on_train_begin(CompiledModel& model) override;
  void on_epoch_end(CompiledModel& model, Index epoch, const Logs& logs) override;

 private:
  ReduceLROnPlateauConfig config_;
  Monitor monitor_;
  std::optional<double> best_;
  Index wait_ = 0;
  Index cooldown_ = 0;
};

/// Sets the learning rate at the start of each epoch. Errors: ConfigError where
/// it is a schedule. Source: keras.callbacks.LearningRateScheduler.
class LearningRateScheduler final : public Callback {
 public:
  /// From the epoch (from 0) and the rate so far.
  using Schedule = std::function<double(Index epoch, double learning_rate)>;
  explicit LearningRateScheduler(Schedule schedule) : schedule_(std::move(schedule)) {}
  void on_epoch_begin(CompiledModel& model, Index epoch) override;

 private:
  Schedule schedule_;
};

/// Ends the training at a loss that is not finite. Source:
/// keras.callbacks.TerminateOnNaN.
class TerminateOnNaN final : public Callback {
 public:
  void on_train_batch_end(CompiledModel& model, Index batch, const Logs& logs) override;
};

struct SwapEMAWeightsConfig {
  /// Also between the epochs' ends and their successors' begins: callbacks that come later see and
  /// save the averages.
  bool swap_on_epoch = false;
};

/// Puts the optimizer's averages (OptimizerOptions::use_ema) into the parameters while the model is
/// evaluated or validated, and the parameters back. Give it to fit() and to evaluate(). Errors:
/// ConfigError for an optimizer without averages. Source: keras.callbacks.SwapEMAWeights.
class SwapEMAWeights final : public Callback {
 public:
  explicit SwapEMAWeights(const SwapEMAWeightsConfig& config = {}) : config_(config) {}
  void on_epoch_begin(CompiledModel& model, Index epoch) override;
  void on_epoch_end(CompiledModel& model, Index epoch, const Logs& logs) override;
  void on_test_begin(CompiledModel& model) override;
  void on_test_end(CompiledModel& model, const Logs& logs) override;

 private:
  SwapEMAWeightsConfig config_;
};

struct TensorBoardConfig {
  std::filesystem::path log_dir = "logs";
  Index update_freq = 0;  ///< batches between `batch_...` numbers; 0: none
};

/// Event files that TensorBoard opens: `epoch_...` numbers of the training
/// under log_dir/train, with the learning rate, and of the validation under
/// log_dir/validation. Each training writes files of its own. Errors: IoError.
/// Source: keras.callbacks.TensorBoard.
class TensorBoard final : public Callback {
 public:
  /// Errors: ConfigError for a negative update_freq.
  explicit TensorBoard(TensorBoardConfig config = {});
  ~TensorBoard() override;
  void on_train_begin(CompiledModel& model) override;
  void on_train_batch_end(CompiledModel& model, Index batch, const Logs& logs) override;
  void on_epoch_end(CompiledModel& model, Index epoch, const Logs& logs) override;
  void on_train_end(CompiledModel& model) override;

 private:
  struct Files;
  TensorBoardConfig config_;
  std::unique_ptr<Files> files_;  // open during a training
  Index step_ = 0;
};

}  // namespace grouphead
#pragma GCC visibility pop
