#include "grouphead/files/backup_and_restore.h"

#include "core/check.h"
#include "grouphead/files/weights.h"
#include "grouphead/train/fit.h"
#include "io/file.h"
#include "io/json.h"

// The weights and the metadata are two files, each replaced at once, the metadata first. They hold
// this saving and the one before; the number of the optimizer's steps says which of the two the
// weights are of.

namespace grouphead {
namespace {

namespace fs = std::filesystem;

constexpr const char* kWeights = "latest.weights.h5";
constexpr const char* kMetadata = "training_metadata.json";
constexpr const char* kPrevious = "previous";

/// Steps of the optimizer; with gradient accumulation more than updates.
Index steps_of(const Optimizer& optimizer) {
  const std::string path = optimizer.name() + "/iteration";
  for (const OptimizerVariable& variable : optimizer.variables()) {
    if (variable.path == path) return *variable.value.data<std::int64_t>();
  }
  return 0;
}

ConfigValue read_metadata(const fs::path& file) {
  if (!fs::exists(file)) return {};
  return io::parse_json(io::read_file(file), file.string());
}

/// A count that a file tells.
Index count_of(const fs::path& file, const ConfigValue& entry, std::string_view key) {
  const ConfigValue& held = entry[key];
  if (held.is_null()) return 0;
  if (held.is_integer() && held.as_integer(key) >= 0) return held.as_integer(key);
  throw IoError("[backup_and_restore] " + file.string() + ": " + std::string(key) +
                ": expected an integer of 0 or more, got " + held.to_string());
}

}  // namespace

BackupAndRestore::BackupAndRestore(const BackupAndRestoreConfig& config) : config_(config) {
  if (config.backup_dir.empty()) {
    core::throw_config_error("backup_and_restore", "backup_dir", "a folder", "none");
  }
  if (config.save_freq < 0) {
    core::throw_config_error("backup_and_restore", "save_freq", "0 or more steps",
                             std::to_string(config.save_freq));
  }
}

void BackupAndRestore::on_train_begin(CompiledModel& model) {
  steps_done_ = 0;
  unsaved_steps_ = 0;
  const fs::path weights = config_.backup_dir / kWeights;
  if (!fs::exists(weights)) return;
  const fs::path file = config_.backup_dir / kMetadata;
  const ConfigValue metadata = read_metadata(file);
  load_weights(model, weights);
  if (metadata.is_null()) return;
  const bool is_previous = !metadata["iteration"].is_null() && !metadata[kPrevious].is_null() &&
                           count_of(file, metadata, "iteration") != steps_of(model.optimizer());
  const ConfigValue& entry = is_previous ? metadata[kPrevious] : metadata;
  model.start = FitStart{.epoch = count_of(file, entry, "epoch"),
                         .step = count_of(file, entry, "steps_done")};
  if (config_.random != nullptr) {
    *config_.random = RandomStream(
        config_.random->seed(), static_cast<std::uint64_t>(count_of(file, entry, "random_draw")));
  }
  steps_done_ = model.start->step;
}

void BackupAndRestore::on_epoch_begin(CompiledModel& /*model*/, Index epoch) { epoch_ = epoch; }

void BackupAndRestore::on_train_batch_end(CompiledModel& model, Index batch, const Logs& /*logs*/) {
  steps_done_ = batch + 1;
  if (config_.save_freq == 0 || ++unsaved_steps_ < config_.save_freq) return;
  unsaved_steps_ = 0;
  save(model);
}

void BackupAndRestore::on_epoch_end(CompiledModel& model, Index epoch, const Logs& /*logs*/) {
  epoch_ = epoch + 1;
  steps_done_ = 0;
  if (config_.save_freq == 0) save(model);
}

void BackupAndRestore::on_train_end(CompiledModel& model) {
  if (!config_.delete_checkpoint || model.is_interrupted()) return;
  std::error_code ignored;
  fs::remove(config_.backup_dir / kWeights, ignored);
  fs::remove(config_.backup_dir / kMetadata, ignored);
  fs::remove(config_.backup_dir, ignored);  // only where nothing else is in it
}

void BackupAndRestore::save(CompiledModel& model) {
  fs::create_directories(config_.backup_dir);
  const fs::path file = config_.backup_dir / kMetadata;
  ConfigValue::Object entry{{"epoch", epoch_},
                            {"batch", std::max<Index>(steps_done_ - 1, 0)},
                            {"steps_done", steps_done_},
                            {"iteration", steps_of(model.optimizer())}};
  if (config_.random != nullptr) {
    entry.emplace_back("random_draw", static_cast<Index>(config_.random->next_draw()));
  }
  ConfigValue::Object previous;
  if (const ConfigValue old = read_metadata(file); old.is_object()) {
    for (const auto& [key, value] : old.as_object("metadata")) {
      if (key != kPrevious) previous.emplace_back(key, value);
    }
  }
  if (!previous.empty()) entry.emplace_back(kPrevious, std::move(previous));
  io::write_file(file, io::json_text(ConfigValue(std::move(entry))));
  save_weights(model, config_.backup_dir / kWeights);
}

}  // namespace grouphead
