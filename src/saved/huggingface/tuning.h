#pragma once

// Runs that train the model of a Hugging Face folder, and go on after a stop.

#include <filesystem>
#include <string>
#include <vector>

#include "grouphead/files/pretrained.h"
#include "saved/huggingface/companions.h"
#include "saved/run_config.h"
#include "saved/run_place.h"
#include "train/tuner.h"

namespace grouphead::saved {

/// The whole state of a run: DIR/state.safetensors, one file, replaced at once.
struct TuningCheckpoint : RunPlace {
  std::filesystem::path file{};
  TunerConfig config{};
  History history{};
  io::StoredTensors contents{""};  ///< `model/...`, `lora/...`, moments
  /// The model as the run's Tuner is made of it: its weights are those of the state.
  PretrainedModel pretrained{};
};

/// Whether a folder has the state of such a run, not one of a byte-level model.
bool has_tuning_checkpoint(const std::filesystem::path& folder);
/// Errors: IoError for a file that is missing, damaged or not such a state.
TuningCheckpoint read_tuning_checkpoint(const std::filesystem::path& folder);

/// Each field of a configuration in words.
std::vector<Setting> settings_of(const TunerConfig& config);
/// What of the run differs from the checkpoint's, one line each.
std::vector<std::string> differences(const TuningCheckpoint& checkpoint, const Tuner& tuner);
/// Sets low-rank matrices, moments, counters and random streams of a Tuner made of
/// checkpoint.pretrained. Errors: IoError, and then nothing is changed.
void restore(const TuningCheckpoint& checkpoint, Tuner& tuner);

/// Writes state.safetensors, then what derives from it: the Hugging Face folder, low-rank changes
/// added up, and history.csv. `pretrained` has the tuner's model. Errors: IoError; the old files
/// stay.
void save(const std::filesystem::path& folder, const PretrainedModel& pretrained, Tuner& tuner,
          const History& history, const std::vector<std::string>& text_files,
          const std::map<std::string, std::string>& companions);

}  // namespace grouphead::saved
