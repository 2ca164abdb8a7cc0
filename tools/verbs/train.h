#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "parallel/process_grid.h"
#include "saved/checkpoint.h"
#include "saved/model_folder.h"
#include "saved/output_folder.h"
#include "saved/run_config.h"
#include "tools/training_run.h"
#include "tools/verbs.h"
#include "tools/verbs/job.h"
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
  std::string trace{};
  parallel::GridSizes grid{};
  // Of a model of Hugging Face alone:
  std::string part = "all";
  Index lora_rank = 8;
  double lora_alpha = 16;
  Index accumulate = 1;
  std::string dtype_policy = "float32";
  std::vector<std::string> given{};  // of the options above, and those of the configuration
  bool is_given(const std::string& name) const;
};

/// The folder of a run, which the first process has.
class RunFolder {
 public:
  /// Errors: IoError.
  RunFolder(const TrainOptions& options, const Job& job);
  /// Of the first process.
  const saved::OutputFolder& get() const noexcept { return *folder_; }
  /// Removes what killed processes left.
  void clean() const;
  void keep() const;

 private:
  std::unique_ptr<saved::OutputFolder> folder_;
};

/// The texts, read by the first process for all. The run whose texts these are is in `resumed`,
/// unless they come from the command line. Errors: IoError; ConfigError where other processes have
/// files of other sizes.
std::string read_texts(const std::vector<std::string>& files, const std::string& resumed,
                       const Job& job);
/// --batch-blocks, or what a new run has without it.
Index blocks_of(const TrainOptions& options, const Job& job, Index batch);
/// The weights of another model, for the first step. Errors: ConfigError where they do not fit.
void take_weights(const saved::LoadedLanguageModel& from, Trainer& trainer,
                  const std::string& folder);
/// A number that tells weights apart, from that of the ones before.
inline constexpr std::uint64_t kNumberOfNothing = 0xcbf29ce484222325;
std::uint64_t number_of(ConstView weight, std::uint64_t number);
std::uint64_t number_of(const ConstParameterList& parameters);
std::uint64_t number_of(const saved::Checkpoint& checkpoint, Trainer& trainer);
/// Errors: ConfigError where processes start from weights of another number or at other steps.
void require_same_start(const Job& job, const TextTraining& training, std::uint64_t number);
/// Computes the validation loss before the first step; the first process prints it.
void print_first_loss(const Job& job, const TrainingRun& run);
std::vector<std::string> absolute(const std::vector<std::string>& files);

/// Trains the model of a Hugging Face folder, or goes on with such a run.
int train_pretrained(const TrainOptions& options, const Globals& globals, const Job& job);

}  // namespace grouphead::tools
