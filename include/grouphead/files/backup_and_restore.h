#pragma once

#include <filesystem>

#include "grouphead/core/random.h"
#include "grouphead/train/callbacks.h"

#pragma GCC visibility push(default)
namespace grouphead {

struct BackupAndRestoreConfig {
  /// A folder for this callback of this training alone.
  std::filesystem::path backup_dir{};
  Index save_freq = 0;            ///< steps between savings; 0: at the end of each epoch
  bool delete_checkpoint = true;  ///< once the training ends; not when FitConfig::stop ends it
  /// The stream that fit() is given as FitConfig::random: dropout goes on with its next draw. Null:
  /// the layers' own generators, which begin anew.
  RandomStream* random = nullptr;
};

/// Saves where a fit() stands, and lets the next fit() with the same arguments go on from there as
/// if nothing had happened, to the bit: weights, optimizer's state, epoch and step. What is done of
/// an epoch is not done again (Keras repeats the epoch).
///
/// The folder has `latest.weights.h5` and `training_metadata.json`, which Keras's callback reads
/// and writes too. Both are replaced at once, and belong together whenever the program is killed.
///
/// Errors: ConfigError without a folder, or for a negative save_freq; in fit() IoError for files
/// that are damaged or of another model, and in a build without Keras's files. Source:
/// keras.callbacks.BackupAndRestore.
class BackupAndRestore final : public Callback {
 public:
  explicit BackupAndRestore(const BackupAndRestoreConfig& config);
  void on_train_begin(CompiledModel& model) override;
  void on_epoch_begin(CompiledModel& model, Index epoch) override;
  void on_train_batch_end(CompiledModel& model, Index batch, const Logs& logs) override;
  void on_epoch_end(CompiledModel& model, Index epoch, const Logs& logs) override;
  void on_train_end(CompiledModel& model) override;

 private:
  void save(CompiledModel& model);

  BackupAndRestoreConfig config_;
  Index epoch_ = 0;
  Index steps_done_ = 0;  // of this epoch
  Index unsaved_steps_ = 0;
};

}  // namespace grouphead
#pragma GCC visibility pop
