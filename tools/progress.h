#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

#include "grouphead/core/tensor.h"

namespace grouphead::tools {

/// Shows on stderr how a training run goes: a bar that is drawn over on a terminal, a line at each
/// validation elsewhere, nothing when quiet.
class Progress {
 public:
  Progress(bool quiet, Index total_steps, Index steps_done, Index units_per_step,
           std::string_view unit);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// After each step. `training_seconds`: of all steps of this process so far.
  void update(Index step, double loss, std::optional<double> validation_loss,
              double training_seconds);
  /// Ends the bar's line, so that other text can follow.
  void finish();

 private:
  std::string speed(Index step, double training_seconds) const;
  std::string time_left(Index step, double training_seconds) const;
  std::string line(Index step, double loss, double training_seconds) const;
  std::string short_line(Index step, double loss, double training_seconds,
                         std::size_t columns) const;

  bool quiet_;
  bool is_terminal_;
  Index total_steps_;
  Index first_step_;
  Index units_per_step_;
  std::string_view unit_;
  std::optional<double> validation_loss_;
  std::chrono::steady_clock::time_point drawn_{};
  bool line_is_open_ = false;
};

/// A line on a terminal's stderr, `512 of 4096 tokens`, drawn over as work goes on and gone at the
/// end; nothing elsewhere, and nothing when quiet.
class CountProgress {
 public:
  CountProgress(bool quiet, Index total, std::string unit);
  ~CountProgress();
  CountProgress(const CountProgress&) = delete;
  CountProgress& operator=(const CountProgress&) = delete;

  void update(Index done) const;

 private:
  Index total_;
  std::string unit_;
  bool shown_;
};

}  // namespace grouphead::tools
