#include <fmt/format.h>

#include <cmath>
#include <filesystem>
#include <map>
#include <optional>

#include "grouphead/text/tokenizer.h"
#include "io/file.h"
#include "saved/huggingface/tuning.h"
#include "saved/output_folder.h"
#include "tools/output.h"
#include "tools/signals.h"
#include "tools/training_run.h"
#include "tools/verbs/train.h"

namespace grouphead::tools {
namespace {

namespace fs = std::filesystem;

/// Sizes that the model has already.
void require_no_sizes(const TrainOptions& options) {
  for (const char* name :
       {"--hidden", "--layers", "--heads", "--kv-heads", "--rope", "--yarn", "--dropout"}) {
    if (!options.is_given(name)) continue;
    throw ConfigError(
        fmt::format("[train] {}: expected none beside a Hugging Face model, whose "
                    "config.json says it",
                    name));
  }
}

/// A saved run's options or the defaults, and those of the command line.
TunerConfig config_of(const TrainOptions& options, const saved::TuningCheckpoint* checkpoint) {
  TunerConfig config = checkpoint != nullptr ? checkpoint->config : TunerConfig();
  TextTrainingConfig& t = config.training;
  const TrainerConfig& given = options.config;
  const auto take = [&](const char* name, auto& to, const auto& from) {
    if (options.is_given(name)) to = from;
  };
  take("--seq", t.sequence_length, given.sequence_length);
  take("--batch", t.batch_size, given.batch_size);
  take("--accumulate", t.accumulate, options.accumulate);
  take("--steps", t.steps, given.steps);
  take("--lr", t.learning_rate, given.learning_rate);
  take("--seed", t.seed, given.seed);
  take("--lora-rank", config.lora_rank, options.lora_rank);
  take("--lora-alpha", config.lora_alpha, options.lora_alpha);
  take("--dtype-policy", config.dtype, DtypePolicy(options.dtype_policy));
  if (options.is_given("--train")) config.part = tuned_part_from_name(options.part);
  if (checkpoint == nullptr) t.warmup_steps = t.steps / 10;
  take("--warmup", t.warmup_steps, given.warmup_steps);
  take("--batch-blocks", t.batch_blocks, given.batch_blocks);
  return config;
}

TextData tokens_of(const std::vector<std::string>& files, const TrainOptions& options, bool are_old,
                   const Job& job, const fs::path& tokenizer, Index sequence_length) {
  const std::string text = read_texts(files, are_old ? options.out : "", job);
  std::vector<std::int32_t> ids =
      Tokenizer::load(tokenizer).encode(text, {.add_special_tokens = false}).ids;
  if (ids.empty()) throw IoError("[train] --text: expected tokens, got none");
  return {std::move(ids), sequence_length};
}

int finish(const Job& job, Tuner& tuner, TrainingRun& run, const TrainOptions& options) {
  if (!tuner.is_done()) run.train();
  if (!tuner.is_done()) {
    if (job.is_first()) {
      print_err(
          "stopped and saved after step {} of {}; to go on:\n  grouphead train --resume --out {}\n",
          tuner.steps_done(), tuner.steps(), options.out);
    }
    return job.exit_code_of_signal();
  }
  const double loss = run.validation_loss();
  if (!job.is_first()) return kOk;
  print_out("validation loss {:.4f} nats per token (perplexity {:.2f}) after {} steps\n", loss,
            std::exp(loss), tuner.steps_done());
  return kOk;
}

void require_same(const saved::TuningCheckpoint& checkpoint, const Tuner& tuner) {
  const std::vector<std::string> lines = saved::differences(checkpoint, tuner);
  if (lines.empty()) return;
  std::string text = "[train] --resume: this run would not go on as the saved one:";
  for (const std::string& line : lines) text += "\n  " + line;
  throw ConfigError(text + "\n  --allow-different goes on all the same");
}

void take_up(saved::TuningCheckpoint& checkpoint, const TrainOptions& options, Tuner& tuner,
             TrainingRun& run) {
  if (!options.allow_different) require_same(checkpoint, tuner);
  saved::restore(checkpoint, tuner);
  run.history = std::move(checkpoint.history);
  run.first_step = tuner.steps_done();
}

}  // namespace

int train_pretrained(const TrainOptions& options, const Globals& globals, const Job& job) {
  require_no_sizes(options);
  const RunFolder folder(options, job);
  std::optional<saved::TuningCheckpoint> checkpoint;
  if (options.resume) {
    checkpoint = saved::read_tuning_checkpoint(options.out);
  } else if (job.is_first() && !options.overwrite) {
    folder.get().require_empty();
  }
  TunerConfig config = config_of(options, checkpoint ? &*checkpoint : nullptr);
  if (!checkpoint) {
    config.training.batch_blocks = blocks_of(options, job, config.training.batch_size);
  }
  job.require_same(saved::settings_of(config));
  const bool has_old_texts = checkpoint && options.text_files.empty();
  const std::vector<std::string> text_files =
      has_old_texts ? checkpoint->text_files : absolute(options.text_files);
  const fs::path source = fs::path(checkpoint ? options.out : options.init_from);
  const std::map<std::string, std::string> companions = saved::read_companions(source);
  TextData text =
      tokens_of(text_files, options, has_old_texts, job, source, config.training.sequence_length);
  PretrainedModel pretrained = checkpoint
                                   ? checkpoint->pretrained
                                   : load_pretrained(options.init_from, {.dtype = config.dtype});

  Context ctx({.num_threads = globals.threads});
  job.require_same({{"isa", std::string(name_of(ctx.isa()))}});
  std::uint64_t number = kNumberOfNothing;
  if (job.is_shared()) number = number_of(std::as_const(*pretrained.model).parameters());
  Tuner tuner(ctx, pretrained.model, config, std::move(text),
              parallel::make_grid(job.communicator(), options.grid));
  TrainingRun run{.training = tuner,
                  .history = {},
                  .write =
                      [&](const saved::History& history) {
                        saved::save(options.out, pretrained, tuner, history, text_files,
                                    companions);
                      },
                  .folder = options.out,
                  .save_every = options.save_every,
                  .validate_every = options.validate_every,
                  .quiet = globals.quiet || !job.is_first(),
                  .unit = "token",
                  .trace_file = options.trace};
  if (checkpoint) take_up(*checkpoint, options, tuner, run);
  // The tuner keeps it where it is needed.
  const bool goes_on = checkpoint.has_value();
  checkpoint.reset();
  if (!job.is_first()) pretrained.model.reset();
  require_same_start(job, tuner, number);
  if (job.stop_requested()) return job.exit_code_of_signal();  // nothing is there to be saved
  folder.clean();
  run.save();  // before any work: finds out whether the folder can be written
  folder.keep();
  if (!goes_on) print_first_loss(job, run);
  return finish(job, tuner, run, options);
}

}  // namespace grouphead::tools
