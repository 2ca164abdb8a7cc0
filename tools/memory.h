#pragma once

#include <optional>
#include <string>

#include "train/trainer.h"

namespace grouphead::tools {

/// Bytes that this process can still get: of the machine, its control group and its limits (ulimit
/// -v). Absent where the system does not say.
std::optional<double> available_memory();

/// "1.5 GB", "20 MB".
std::string bytes_text(double bytes);

/// Bytes that training takes at least, but for the text.
struct TrainingMemory {
  double parameters = 0;  ///< how many
  double weights = 0;     ///< with gradients and moments
  double step = 0;        ///< what a step keeps of a batch for its backward
  double total() const noexcept { return weights + step; }
};
TrainingMemory training_memory(const TrainerConfig& config) noexcept;

/// Errors: ConfigError with the numbers when training would need more than there is.
void require_memory(const TrainerConfig& config, const TrainingMemory& needed);

}  // namespace grouphead::tools
