#include "grouphead/train/keras_callbacks.h"

#include <algorithm>
#include <cmath>

#include "core/check.h"
#include "core/number_text.h"
#include "grouphead/train/fit.h"
#include "train/event_file.h"

namespace grouphead {

// ---- Learning rates -----------------------------------------------------------------------------

ReduceLROnPlateau::ReduceLROnPlateau(const ReduceLROnPlateauConfig& config)
    : config_(config), monitor_(config.monitor, config.mode, config.min_delta) {
  if (config.factor < 1) return;
  core::throw_config_error("reduce_lr_on_plateau", "factor", "a number below 1",
                           core::number_text(config.factor));
}

void ReduceLROnPlateau::on_train_begin(CompiledModel& /*model*/) {
  best_.reset();
  wait_ = 0;
  cooldown_ = 0;
}

void ReduceLROnPlateau::on_epoch_end(CompiledModel& model, Index /*epoch*/, const Logs& logs) {
  const std::optional<double> current = monitor_.value(model, logs);
  if (!current) return;
  if (cooldown_ > 0) {
    --cooldown_;
    wait_ = 0;
  }
  if (monitor_.improves(*current, best_)) {
    best_ = current;
    wait_ = 0;
    return;
  }
  if (cooldown_ > 0 || ++wait_ < config_.patience) return;
  const double rate = model.optimizer().learning_rate();
  if (rate <= static_cast<double>(static_cast<float>(config_.min_lr))) return;
  model.optimizer().set_learning_rate(std::max(rate * config_.factor, config_.min_lr));
  cooldown_ = config_.cooldown;
  wait_ = 0;
}

void LearningRateScheduler::on_epoch_begin(CompiledModel& model, Index epoch) {
  Optimizer& optimizer = model.optimizer();
  optimizer.set_learning_rate(schedule_(epoch, optimizer.learning_rate()));
}

// ---- TerminateOnNaN -----------------------------------------------------------------------------

void TerminateOnNaN::on_train_batch_end(CompiledModel& model, Index /*batch*/, const Logs& logs) {
  const std::optional<double> loss = find(logs, "loss");
  if (loss && !std::isfinite(*loss)) model.stop_training = true;
}

// ---- SwapEMAWeights -----------------------------------------------------------------------------

namespace {

void swap_to(bool wanted, CompiledModel& model) {
  Optimizer& optimizer = model.optimizer();
  if (optimizer.has_swapped_averages() != wanted) optimizer.swap_averages();
}

}  // namespace

void SwapEMAWeights::on_epoch_begin(CompiledModel& model, Index /*epoch*/) {
  if (config_.swap_on_epoch) swap_to(false, model);
}
void SwapEMAWeights::on_epoch_end(CompiledModel& model, Index /*epoch*/, const Logs& /*logs*/) {
  if (config_.swap_on_epoch) swap_to(true, model);
}
void SwapEMAWeights::on_test_begin(CompiledModel& model) { swap_to(true, model); }
void SwapEMAWeights::on_test_end(CompiledModel& model, const Logs& /*logs*/) {
  swap_to(false, model);
}

// ---- TensorBoard --------------------------------------------------------------------------------

struct TensorBoard::Files {
  train::EventFile training;
  std::optional<train::EventFile> validation{};  // made for its first number
};

TensorBoard::TensorBoard(TensorBoardConfig config) : config_(std::move(config)) {
  if (config_.update_freq >= 0) return;
  core::throw_config_error("tensor_board", "update_freq", "0 or more batches",
                           std::to_string(config_.update_freq));
}
TensorBoard::~TensorBoard() = default;

void TensorBoard::on_train_begin(CompiledModel& /*model*/) {
  files_ = std::make_unique<Files>(Files{train::EventFile(config_.log_dir / "train")});
  step_ = 0;
}

void TensorBoard::on_train_batch_end(CompiledModel& /*model*/, Index /*batch*/, const Logs& logs) {
  const Index step = step_++;
  if (config_.update_freq == 0 || step % config_.update_freq != 0) return;
  for (const auto& [name, value] : logs) files_->training.scalar("batch_" + name, value, step);
}

void TensorBoard::on_epoch_end(CompiledModel& model, Index epoch, const Logs& logs) {
  constexpr std::string_view kValidation = "val_";
  for (const auto& [name, value] : logs) {
    if (!name.starts_with(kValidation)) {
      files_->training.scalar("epoch_" + name, value, epoch);
      continue;
    }
    if (!files_->validation) files_->validation.emplace(config_.log_dir / "validation");
    files_->validation->scalar("epoch_" + name.substr(kValidation.size()), value, epoch);
  }
  files_->training.scalar("epoch_learning_rate", model.optimizer().learning_rate(), epoch);
  files_->training.flush();
  if (files_->validation) files_->validation->flush();
}

void TensorBoard::on_train_end(CompiledModel& /*model*/) { files_.reset(); }

}  // namespace grouphead
