#pragma once

// Where a training run on text stands, and how it went: what checkpoints of all kinds hold beside
// weights and moments.

#include <optional>
#include <string>
#include <vector>

#include "grouphead/core/tensor.h"
#include "io/safetensors.h"
#include "train/text_training.h"

namespace grouphead::saved {

inline constexpr const char* kStateName = "state.safetensors";

/// One training step, as in history.csv.
struct HistoryRow {
  Index step = 0;  ///< 1: the first
  double loss = 0;
  std::optional<double> validation_loss{};  ///< where measured, after the step
  double learning_rate = 0;
  double gradient_norm = 0;
};
using History = std::vector<HistoryRow>;

struct RunPlace {
  Index steps_done = 0;
  std::uint64_t next_dropout_draw = 0;
  std::string isa{};
  Index text_bytes = 0;  ///< or tokens
  std::string text_fingerprint{};
  std::vector<std::string> text_files{};  ///< where the text was, for a resume that does not say
};
RunPlace place_of(const TextTraining& training, const std::vector<std::string>& text_files);

/// JSON, and back. Errors: IoError that starts with `where`.
std::string to_json(const RunPlace& place);
RunPlace place_from_json(const std::string& json, const std::string& where);

/// A line for what differs: text and instruction set.
std::vector<std::string> differences(const RunPlace& saved, const RunPlace& now);

/// [steps, 5] f64, and back. Errors: IoError that starts with `where`.
Tensor tensor_of(const History& history);
History history_of(const Tensor& rows, Index steps_done, const std::string& where);
/// history.csv.
std::string csv_of(const History& history);

/// Sets them from a file that fits.
void take_tensors(const io::StoredTensors& contents,
                  const std::vector<train::WholeTensor>& tensors);

}  // namespace grouphead::saved
