#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "saved/checkpoint.h"

namespace grouphead::tools {

/// A run of `grouphead train`: from the trainer as it is to its last step or a signal.
struct TrainingRun {
  Trainer& trainer;
  saved::History history;
  std::vector<std::string> text_files;
  std::filesystem::path folder;
  Index save_every;
  Index validate_every;
  bool quiet;
  double training_seconds = 0;  ///< of this process
  Index first_step = 0;         ///< of this process

  /// Errors: IoError. No signal ends the process meanwhile.
  void save();
  /// Trains until a signal, saving on the way and at the end. Errors: IoError; Error for a loss
  /// that is not finite.
  void train();
  /// Writes report.html. Errors: IoError.
  void write_report(Context& ctx) const;
  /// After the last step, nats per byte.
  double validation_loss();

 private:
  void train_one_step();
};

}  // namespace grouphead::tools
