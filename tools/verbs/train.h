#pragma once

#include <functional>
#include <string>
#include <vector>

#include "saved/run_config.h"
#include "tools/verbs.h"
#include "tools/verbs/options.h"

namespace grouphead::tools {

/// What the command line of `train` says.
struct TrainOptions {
  std::vector<std::string> text_files;
  std::string out;
  TrainerConfig config;
  bool has_warmup = false;  // else a tenth of a new run's steps
  std::string init_from;
  bool resume = false;
  bool allow_different = false;
  bool overwrite = false;
  Index save_every = 100;
  Index validate_every = 50;
  // Of a model of Hugging Face alone:
  std::string part = "all";
  Index lora_rank = 8;
  double lora_alpha = 16;
  Index accumulate = 1;
  std::string dtype_policy = "float32";
  std::vector<std::string> given{};  // of the options above, and those of the configuration
  bool is_given(const std::string& name) const;
};

/// The run whose texts these are is in `resumed`, unless they come from the command line.
std::string read_texts(const std::vector<std::string>& files, const std::string& resumed);
std::vector<std::string> absolute(const std::vector<std::string>& files);

/// Trains the model of a Hugging Face folder, or goes on with such a run.
int train_pretrained(const TrainOptions& options, const Globals& globals);

}  // namespace grouphead::tools
