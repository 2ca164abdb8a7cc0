#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "grouphead/models/models.h"

namespace grouphead::tools::report {

/// What a training run has to show.
struct TrainingPage {
  std::vector<std::pair<std::string, std::string>> configuration;  ///< name, value
  TransformerConfig model;                                         ///< for the cache table
  std::vector<double> steps;                                       ///< step of each `loss`
  std::vector<double> losses;                                      ///< nats per byte
  std::vector<double> validation_steps;   ///< step of each `validation_loss`
  std::vector<double> validation_losses;  ///< nats per byte
  std::vector<double> learning_rates;     ///< of each step; empty: left out
  std::vector<double> gradient_norms;     ///< of each step, before clipping; empty: left out
  double tokens_per_second = 0;           ///< 0: not measured, left out
  double seconds = 0;                     ///< 0: not measured, left out
  std::string sample;                     ///< text the model wrote; empty: left out
  std::string attended;                   ///< text that the attention maps are of
  std::vector<Tensor> attention_scores;   ///< one tensor [1, Hq, T, T] per layer; empty: left out
};

/// One self-contained page: numbers, curves as inline SVG, configuration, speed, cache table.
std::string training_report_html(const TrainingPage& run);

}  // namespace grouphead::tools::report
