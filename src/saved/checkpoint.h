#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "io/safetensors.h"
#include "saved/run_config.h"

namespace grouphead::saved {

/// One training step, as in history.csv.
struct HistoryRow {
  Index step = 0;  ///< 1: the first
  double loss = 0;
  std::optional<double> validation_loss{};  ///< where measured, after the step
  double learning_rate = 0;
  double gradient_norm = 0;
};
using History = std::vector<HistoryRow>;

/// The whole state of a training run: DIR/state.safetensors, one file, replaced at once.
struct Checkpoint {
  std::filesystem::path file{};
  TrainerConfig config{};
  Index steps_done = 0;
  std::uint64_t next_dropout_draw = 0;
  std::string isa{};
  Index text_bytes = 0;
  std::string text_fingerprint{};
  std::vector<std::string> text_files{};  ///< where the text was, for a resume that does not say
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
/// history.csv. Errors: IoError; the old files stay.
void save(const std::filesystem::path& folder, Trainer& trainer, const History& history,
          const std::vector<std::string>& text_files);

}  // namespace grouphead::saved
