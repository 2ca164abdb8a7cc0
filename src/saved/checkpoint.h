#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "io/safetensors.h"
#include "saved/run_config.h"
#include "saved/run_place.h"

namespace grouphead::saved {

/// The whole state of a training run: DIR/state.safetensors, one file, replaced at once.
struct Checkpoint : RunPlace {
  std::filesystem::path file{};
  TrainerConfig config{};
  History history{};
  io::StoredTensors contents{""};  ///< weights, `momentum/...`, `velocity/...`
};

bool has_checkpoint(const std::filesystem::path& folder);
/// Errors: IoError for a file that is missing, damaged or not a checkpoint.
Checkpoint read_checkpoint(const std::filesystem::path& folder);

/// What of the run differs from the checkpoint's, one line each: configuration, text, ISA level.
std::vector<std::string> differences(const Checkpoint& checkpoint, const Trainer& trainer);
/// Sets weights, moments, counters and random streams. Errors: IoError that names the tensor, and
/// then nothing is changed.
void restore(const Checkpoint& checkpoint, Trainer& trainer);

/// Writes state.safetensors, then what derives from it: config.json, model.safetensors and
/// history.csv. Within Trainer::save(). Errors: IoError; the old files stay.
void save(const std::filesystem::path& folder, Trainer& trainer, const History& history,
          const std::vector<std::string>& text_files);

}  // namespace grouphead::saved
