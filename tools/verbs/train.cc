#include "tools/verbs/train.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <memory>
#include <numbers>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "grouphead/core/version.h"
#include "grouphead/models/model.h"
#include "io/file.h"
#include "parallel/batch_blocks.h"
#include "saved/checkpoint.h"
#include "saved/huggingface/tuning.h"
#include "saved/model_folder.h"
#include "saved/output_folder.h"
#include "tools/memory.h"
#include "tools/output.h"
#include "tools/signals.h"
#include "tools/text_input.h"
#include "tools/training_run.h"

namespace grouphead::tools {
namespace {

namespace fs = std::filesystem;

constexpr Index kMostSteps = 1'000'000'000'000;

/// An option of the configuration, and how its value goes from the command line to a run.
struct ConfigOption {
  CLI::Option* option;
  std::function<void(const TrainerConfig& from, TrainerConfig& to)> take;
};

void require_new(const saved::OutputFolder& folder) {
  if (saved::has_checkpoint(folder.path())) {
    throw ConfigError("[train] " + folder.path().string() +
                      ": a training run is there already; go on with --resume, start anew with "
                      "--overwrite, or give another --out");
  }
  folder.require_empty();
}

void require_same(const saved::Checkpoint& checkpoint, const Trainer& trainer) {
  const std::vector<std::string> lines = saved::differences(checkpoint, trainer);
  if (lines.empty()) return;
  std::string text = "[train] --resume: this run would not go on as the saved one:";
  for (const std::string& line : lines) text += "\n  " + line;
  throw ConfigError(text + "\n  --allow-different goes on all the same");
}

/// What a model was trained by, or where nothing is known of it the defaults with its sizes.
TrainerConfig options_of(const saved::LoadedLanguageModel& model) {
  return model.training ? *model.training : trainer_config(model.model->config());
}

/// What the run's steps are made from: a checkpoint's options, another model's, or the defaults.
TrainerConfig config_of(const TrainOptions& options, const std::vector<ConfigOption>& given,
                        const std::optional<saved::Checkpoint>& checkpoint,
                        const std::optional<saved::LoadedLanguageModel>& initial) {
  TrainerConfig config = checkpoint ? checkpoint->config
                         : initial  ? options_of(*initial)
                                    : TrainerConfig{};
  for (const ConfigOption& option : given) {
    if (option.option->count() > 0) option.take(options.config, config);
  }
  if (!checkpoint && !options.has_warmup) config.warmup_steps = config.steps / 10;
  return config;
}

/// Whether a finished run wrote all of its files, of which the report is the last.
bool is_whole(const fs::path& folder) {
  std::error_code error;
  const auto report = fs::last_write_time(folder / "report.html", error);
  if (error) return false;
  const auto state = fs::last_write_time(folder / "state.safetensors", error);
  return !error && report >= state;
}

// Where nobody has the whole model, it is read from what was saved.
void report(Context& ctx, const Trainer& trainer, const TrainingRun& run) {
  if (trainer.has_whole_tensors()) return write_report(ctx, trainer, trainer.model(), run);
  write_report(ctx, trainer, *saved::load_language_model(run.folder).model, run);
}

int run_to_the_end(Context& ctx, const Job& job, Trainer& trainer, TrainingRun& run,
                   const TrainOptions& options) {
  const bool was_done = trainer.is_done();
  const bool was_whole = was_done && job.broadcast(is_whole(run.folder) ? "yes" : "") == "yes";
  if (!was_done) {
    run.train();
  } else if (!was_whole) {
    run.save();  // killed while it saved the last step: older files stand beside the state
  }
  if (!trainer.is_done()) {
    if (job.is_first()) {
      print_err(
          "stopped and saved after step {} of {}; to go on:\n  grouphead train --resume --out {}\n",
          trainer.steps_done(), trainer.config().steps, options.out);
    }
    return job.exit_code_of_signal();
  }
  // A finished run that is resumed has nothing to add to its report.
  if (!was_whole && job.is_first()) report(ctx, trainer, run);
  const double loss = run.validation_loss();
  if (!job.is_first()) return kOk;
  print_out("validation loss {:.4f} nats per byte ({:.4f} bits per byte) after {} steps\n", loss,
            loss / std::numbers::ln2, trainer.steps_done());
  return kOk;
}

// What the command line says of more than a run's steps.
void require_same_command(const TrainOptions& options, bool is_pretrained, const Job& job) {
  const auto yes_no = [](bool value) { return std::string(value ? "yes" : "no"); };
  job.require_same({{"version", GROUPHEAD_VERSION},
                    {"--out", options.out},
                    {"--resume", yes_no(options.resume)},
                    {"--overwrite", yes_no(options.overwrite)},
                    {"--allow-different", yes_no(options.allow_different)},
                    {"--init-from", "=" + options.init_from},
                    {"--text", fmt::format("{}", fmt::join(options.text_files, " ")) + " "},
                    {"--save-every", std::to_string(options.save_every)},
                    {"--validate-every", std::to_string(options.validate_every)},
                    {"--trace", "=" + options.trace},
                    {"--dp", std::to_string(options.grid.batch)},
                    {"--sp", std::to_string(options.grid.sequence)},
                    {"--tp", std::to_string(options.grid.tensors)},
                    {"a Hugging Face model", yes_no(is_pretrained)}});
}

// The options that say something to models of Hugging Face alone.
void require_bytes(const TrainOptions& options) {
  for (const char* name :
       {"--train", "--lora-rank", "--lora-alpha", "--accumulate", "--dtype-policy"}) {
    if (!options.is_given(name)) continue;
    throw ConfigError(fmt::format(
        "[train] {}: expected a Hugging Face folder in --init-from, got another model", name));
  }
}

/// What a process computes at a time: a block of the batch, and its part of the sequences.
TrainerConfig at_a_time(const TrainerConfig& config, const TrainOptions& options) {
  TrainerConfig own = config;
  const Index blocks = std::max<Index>(1, config.batch_blocks);  // of a file, and not checked yet
  own.batch_size = (config.batch_size + blocks - 1) / blocks;
  own.sequence_length /= options.grid.sequence;
  return own;
}

/// What a process needs at least, of what all share out.
TrainingMemory memory_of(const TrainerConfig& config, const TrainOptions& options) {
  TrainingMemory memory = training_memory(at_a_time(config, options));
  memory.weights /= static_cast<double>(options.grid.tensors);
  memory.step /= static_cast<double>(options.grid.tensors);
  return memory;
}

// Takes up what a run goes on from, or the weights it begins with; their number, for processes to
// compare.
std::uint64_t start(const TrainOptions& options, const Job& job, Trainer& trainer, TrainingRun& run,
                    std::optional<saved::Checkpoint>& checkpoint,
                    const std::optional<saved::LoadedLanguageModel>& initial) {
  std::uint64_t number = kNumberOfNothing;  // two new runs of a seed start alike
  if (checkpoint) {
    if (!options.allow_different) require_same(*checkpoint, trainer);
    saved::restore(*checkpoint, trainer);
    if (job.is_shared()) number = number_of(*checkpoint, trainer);
    run.history = std::move(checkpoint->history);
    run.first_step = trainer.steps_done();
  }
  if (initial) {
    take_weights(*initial, trainer, options.init_from);
    if (job.is_shared()) number = number_of(std::as_const(*initial->model).parameters());
  }
  return number;
}

int train_bytes(const TrainOptions& options, const std::vector<ConfigOption>& config_options,
                const Globals& globals, const Job& job) {
  require_bytes(options);
  const RunFolder folder(options, job);
  std::optional<saved::Checkpoint> checkpoint;
  std::optional<saved::LoadedLanguageModel> initial;
  if (options.resume) checkpoint = saved::read_checkpoint(options.out);
  if (job.is_first() && !options.resume && !options.overwrite) require_new(folder.get());
  if (!options.init_from.empty()) initial = saved::load_language_model(options.init_from);
  TrainerConfig config = config_of(options, config_options, checkpoint, initial);
  if (!checkpoint) config.batch_blocks = blocks_of(options, job, config.batch_size);
  job.require_same(saved::settings_of(config));
  const bool has_old_texts = checkpoint && options.text_files.empty();
  const std::vector<std::string> text_files =
      has_old_texts ? checkpoint->text_files : absolute(options.text_files);

  Context ctx({.num_threads = globals.threads});
  job.require_same({{"isa", std::string(name_of(ctx.isa()))}});
  TextData text(read_texts(text_files, has_old_texts ? options.out : "", job),
                config.sequence_length);
  require_memory(config, memory_of(config, options));
  Trainer trainer(ctx, config, std::move(text),
                  parallel::make_grid(job.communicator(), options.grid));
  TrainingRun run{.training = trainer,
                  .history = {},
                  .write =
                      [&](const saved::History& history) {
                        saved::save(options.out, trainer, history, text_files);
                      },
                  .folder = options.out,
                  .save_every = options.save_every,
                  .validate_every = options.validate_every,
                  .quiet = globals.quiet || !job.is_first(),
                  .unit = "byte",
                  .trace_file = options.trace};
  require_same_start(job, trainer, start(options, job, trainer, run, checkpoint, initial));
  checkpoint.reset();
  if (job.stop_requested()) return job.exit_code_of_signal();  // nothing is there to be saved
  folder.clean();
  if (!options.resume) run.save();  // before any work: finds out whether the folder can be written
  folder.keep();
  if (initial) {
    initial.reset();
    print_first_loss(job, run);
  }
  return run_to_the_end(ctx, job, trainer, run, options);
}

int train(const TrainOptions& options, const std::vector<ConfigOption>& config_options,
          const Globals& globals) {
  const StopsOnSignal stops;
  Job job("train");
  return job.run([&] {
    const bool is_pretrained = options.resume ? saved::has_tuning_checkpoint(options.out)
                                              : saved::is_pretrained_folder(options.init_from);
    require_same_command(options, is_pretrained, job);
    return is_pretrained ? train_pretrained(options, globals, job)
                         : train_bytes(options, config_options, globals, job);
  });
}

std::vector<ConfigOption> add_config_options(CLI::App& verb, TrainOptions& options) {
  std::vector<ConfigOption> config_options;
  TrainerConfig& values = options.config;
  // The option's value replaces that of a checkpoint or another model only where it is given.
  const auto add = [&](CLI::Option* option, auto TrainerConfig::*member) {
    config_options.push_back({option, [member](const TrainerConfig& from, TrainerConfig& to) {
                                to.*member = from.*member;
                              }});
    return option;
  };
  const auto add_size = [&](const char* names, Index TrainerConfig::*member, const char* help,
                            Index highest, Index lowest = 1) {
    return add(add_whole(verb, names, values.*member, help, lowest, highest), member);
  };
  constexpr Index kMost = Index{1} << 20;
  add_size("--steps", &TrainerConfig::steps, "Steps of the whole run", kMostSteps);
  add_size("--batch", &TrainerConfig::batch_size, "Sequences per step", kMost);
  add_size("--seq", &TrainerConfig::sequence_length, "Bytes per sequence", kMost);
  add_size("--hidden", &TrainerConfig::hidden_size, "Model width", Index{1} << 14);
  add_size("--layers", &TrainerConfig::num_layers, "Blocks", Index{1} << 10);
  add_size("--heads", &TrainerConfig::num_heads, "Query heads; they divide the width", kMost);
  add_size("--kv-heads", &TrainerConfig::num_key_value_heads,
           "Key/value heads; they divide the query heads", kMost);
  add(verb.add_flag("--rope,!--no-rope", values.rope, "Rotary position embedding; on by default"),
      &TrainerConfig::rope);
  add(add_real(verb, "--yarn", values.yarn_scale, "YaRN context extension by this factor",
               kOneOrMore),
      &TrainerConfig::yarn_scale);
  add(add_real(verb, "--lr", values.learning_rate, "Highest learning rate", kAboveZero),
      &TrainerConfig::learning_rate);
  add_size("--warmup", &TrainerConfig::warmup_steps, "Steps until then", kMostSteps, 0)
      ->default_str("a tenth of --steps");
  add_size("--batch-blocks", &TrainerConfig::batch_blocks,
           "Parts of a batch that gradients are summed over, in a fixed order: as many processes "
           "of mpirun can share a step",
           kMost)
      ->default_str("1; of mpirun the largest power of two up to 8 that divides --batch");
  add(add_real(verb, "--dropout", values.dropout, "After attention and feed-forward", kBelowOne),
      &TrainerConfig::dropout);
  return config_options;
}

}  // namespace

bool TrainOptions::is_given(const std::string& name) const {
  return std::find(given.begin(), given.end(), name) != given.end();
}

namespace {

std::string read_here(const std::vector<std::string>& files, const std::string& resumed) {
  if (files.empty()) throw ConfigError("[train] --text: expected a file or more, got none");
  std::string text;
  for (const std::string& file : files) {
    std::string contents;
    try {
      if (!resumed.empty()) require_regular(file);
      contents = read_text(file);
    } catch (const IoError& error) {
      if (resumed.empty()) throw;
      throw IoError(fmt::format(
          "[train] --resume: the run in {} reads its text from {}: {}\n"
          "  where the text is elsewhere now: grouphead train --resume --out {} --text FILE...",
          resumed, file, error.what(), resumed));
    }
    if (contents.empty()) throw IoError("[train] " + file + ": the file is empty");
    text += contents;
  }
  return text;
}

/// Bytes of the files, where they are here.
saved::Setting size_of(const std::vector<std::string>& files) {
  std::uintmax_t bytes = 0;
  for (const std::string& file : files) {
    std::error_code error;
    bytes += fs::file_size(file, error);
    if (error) return {"text", ""};
  }
  return {"text", fmt::format("{} bytes", bytes)};
}

}  // namespace

std::string read_texts(const std::vector<std::string>& files, const std::string& resumed,
                       const Job& job) {
  job.require_same({size_of(files)});
  return job.broadcast(job.is_first() ? read_here(files, resumed) : std::string());
}

Index blocks_of(const TrainOptions& options, const Job& job, Index batch) {
  if (options.is_given("--batch-blocks")) return options.config.batch_blocks;
  return job.communicator() ? parallel::default_blocks(batch) : 1;
}

RunFolder::RunFolder(const TrainOptions& options, const Job& job) {
  if (job.is_first()) folder_ = std::make_unique<saved::OutputFolder>(options.out, "train");
}
void RunFolder::clean() const {
  if (folder_) io::remove_leftovers(folder_->path());
}
void RunFolder::keep() const {
  if (folder_) folder_->keep();
}

std::vector<std::string> absolute(const std::vector<std::string>& files) {
  std::vector<std::string> paths;
  for (const std::string& file : files) paths.push_back(fs::absolute(file).lexically_normal());
  return paths;
}

namespace {

// What is of models of Hugging Face alone.
void add_pretrained(CLI::App& verb, TrainOptions& options) {
  verb.add_option("--train", options.part,
                  "Weights of a Hugging Face model that are trained: all, those of the attention, "
                  "or low-rank changes of them")
      ->check(CLI::IsMember({"all", "attention", "lora"}))
      ->capture_default_str();
  add_whole(verb, "--lora-rank", options.lora_rank, "Rank of the changes of --train lora", 1,
            Index{1} << 16);
  add_real(verb, "--lora-alpha", options.lora_alpha, "They are scaled by this over the rank",
           kAboveZero);
  add_whole(verb, "--accumulate", options.accumulate,
            "Batches of a step, for a Hugging Face model: as one batch of that many times --batch",
            1, Index{1} << 20);
  verb.add_option("--dtype-policy", options.dtype_policy,
                  "What the products of a Hugging Face model are computed in; weights, gradients "
                  "and logits are of 32 bits")
      ->check(CLI::IsMember({"float32", "mixed_bfloat16"}))
      ->capture_default_str();
}

// How the processes of mpirun share out a run.
void add_grid(CLI::App& verb, parallel::GridSizes& grid) {
  add_whole(verb, "--dp", grid.batch,
            "Groups of mpirun's processes that share out the batch; the number of processes is the "
            "product of --dp, --sp and --tp",
            1, Index{1} << 20)
      ->default_str("as many as there are");
  add_whole(verb, "--tp", grid.tensors,
            "Processes of mpirun that share out key/value heads and feed-forward columns", 1,
            Index{1} << 20);
  add_whole(verb, "--sp", grid.sequence,
            "Processes of mpirun that share out the positions of each sequence", 1, Index{1} << 20);
}

}  // namespace

void add_train(CLI::App& app, const Globals& globals, Action& action) {
  CLI::App* verb = app.add_subcommand(
      "train", "Trains a byte-level language model, or one of Hugging Face, on text");
  verb->footer(
      "Example:\n  grouphead train --text book.txt --out model --steps 500\n"
      "  grouphead train --init-from llama --text book.txt --out tuned --train lora --lr 0.0003\n"
      "Writes into --out: state.safetensors (all that --resume needs), model.safetensors and\n"
      "config.json (for generate), history.csv, report.html. The last 5 % of the text are held "
      "out\n"
      "for validation. Ctrl-C, SIGTERM and SIGHUP save, and the exit code is 130, 143 or 129;\n"
      "--resume then ends with the bits of a run never stopped. Exit: 0 trained, 2 bad input\n"
      "With a Hugging Face folder the model has its own sizes, and the defaults are --steps 100,\n"
      "--batch 8, --lr 0.0001; --out becomes such a folder, with state.safetensors beside it.");
  const auto options = std::make_shared<TrainOptions>();
  verb->add_option("--text", options->text_files, "Files to train on, one after the other");
  verb->add_option("--out", options->out, "Folder to write")->required();
  const std::vector<ConfigOption> config_options = add_config_options(*verb, *options);
  CLI::Option* init_from = verb->add_option(
      "--init-from", options->init_from,
      "Start with the weights and by the options of the model in this folder; of a "
      "Hugging Face folder with its tokenizer");
  CLI::Option* resume =
      verb->add_flag("--resume", options->resume, "Go on with the run in --out, by its own options")
          ->excludes(init_from);
  verb->add_flag("--allow-different", options->allow_different,
                 "Let a resumed run differ in options, text or instruction set");
  verb->add_flag("--overwrite", options->overwrite,
                 "Write into a folder that holds a run or other files; those of the same names "
                 "are replaced")
      ->excludes(resume);
  add_pretrained(*verb, *options);
  add_whole(*verb, "--save-every", options->save_every, "Steps between checkpoints", 1, kMostSteps);
  add_whole(*verb, "--validate-every", options->validate_every, "Steps between validations", 1,
            kMostSteps);
  verb->add_option("--trace", options->trace,
                   "Write when the last step did what, as JSON for chrome://tracing");
  add_grid(*verb, options->grid);
  verb->callback([=, &globals, &action] {
    action = [=, &globals] {
      options->config.seed = globals.seed;
      options->has_warmup = verb->get_option("--warmup")->count() > 0;
      for (const CLI::Option* option : verb->get_options()) {
        if (option->count() > 0) options->given.push_back(option->get_name());
      }
      std::vector<ConfigOption> all = config_options;
      all.push_back({verb->get_option("--seed"),
                     [](const TrainerConfig& from, TrainerConfig& to) { to.seed = from.seed; }});
      return train(*options, all, globals);
    };
  });
}

}  // namespace grouphead::tools
