#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "grouphead/train/step_trace.h"
#include "saved/checkpoint.h"

namespace grouphead::tools {

/// A run of `grouphead train`: from the training as it is to its last step or a signal.
struct TrainingRun {
  TextTraining& training;
  saved::History history;
  std::function<void(const saved::History& history)> write;  ///< what a later run goes on with
  std::filesystem::path folder;
  Index save_every;
  Index validate_every;
  bool quiet;
  std::string_view unit;        ///< `byte`, or what else a token is: `token`
  std::string trace_file{};     ///< where the last step's trace goes; empty: none
  double training_seconds = 0;  ///< of this process
  Index first_step = 0;         ///< of this process
  StepTrace trace{};            ///< of the last step

  /// By the first of the training's processes. Errors: IoError. No signal ends it meanwhile.
  void save();
  /// Trains until a signal, saving on the way and at the end. Errors: IoError; Error for a loss
  /// that is not finite.
  void train();
  /// After the last step, nats per token.
  double validation_loss();

 private:
  bool is_stopped() const;
  void train_one_step();
  void write_trace();
};

/// Writes report.html of a byte-level model's run; `model` is what it trained, whole. Errors:
/// IoError.
void write_report(Context& ctx, const Trainer& trainer, const LanguageModel& model,
                  const TrainingRun& run);

}  // namespace grouphead::tools
