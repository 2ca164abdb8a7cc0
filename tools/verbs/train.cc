#include <fmt/format.h>

#include <chrono>
#include <cmath>
#include <csignal>
#include <filesystem>
#include <functional>
#include <numbers>
#include <vector>

#include "grouphead/models/generation.h"
#include "grouphead/models/model.h"
#include "io/file.h"
#include "saved/checkpoint.h"
#include "saved/model_folder.h"
#include "tools/progress.h"
#include "tools/report/training_report.h"
#include "tools/verbs.h"

namespace grouphead::tools {
namespace {

namespace fs = std::filesystem;

struct TrainOptions {
  std::vector<std::string> text_files;
  std::string out;
  TrainerConfig config;
  bool has_warmup = false;  // else a tenth of a new run's steps
  std::string init_from;
  bool resume = false;
  bool allow_different = false;
  Index save_every = 100;
  Index validate_every = 50;
};

/// An option of the configuration, and how its value goes from the command line to a run.
struct ConfigOption {
  CLI::Option* option;
  std::function<void(const TrainerConfig& from, TrainerConfig& to)> take;
};

// A signal asks the loop to end after the step it is in; a second one ends the process as usual.
volatile std::sig_atomic_t stop_requested = 0;

void install_signal_handlers() {
  struct sigaction action {};
  action.sa_handler = [](int) { stop_requested = 1; };
  action.sa_flags = static_cast<int>(SA_RESETHAND);
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
  std::signal(SIGXFSZ, SIG_IGN);  // a file beyond the limit is an error of the write, not the end
}

std::string read_texts(const std::vector<std::string>& files) {
  if (files.empty()) throw ConfigError("[train] --text: expected a file or more, got none");
  std::string text;
  for (const std::string& file : files) {
    const std::string contents = io::read_file(file);
    if (contents.empty()) throw IoError("[train] " + file + ": the file is empty");
    text += contents;
  }
  return text;
}

/// Makes a folder and its parents; takes back what it made unless keep() is called.
class NewFolder {
 public:
  explicit NewFolder(const fs::path& folder) {
    for (fs::path missing = fs::absolute(folder); !fs::exists(missing);
         missing = missing.parent_path()) {
      made_.push_back(missing);
    }
    std::error_code error;
    fs::create_directories(folder, error);
    if (!error && !fs::is_directory(folder))
      error = std::make_error_code(std::errc::not_a_directory);
    if (error) throw IoError("[train] " + folder.string() + ": " + error.message());
  }
  ~NewFolder() {
    std::error_code ignored;
    for (const fs::path& folder : made_) fs::remove(folder, ignored);
  }
  NewFolder(const NewFolder&) = delete;
  NewFolder& operator=(const NewFolder&) = delete;
  void keep() noexcept { made_.clear(); }

 private:
  std::vector<fs::path> made_;  // innermost first
};

/// A run: what the verb's parts share.
struct Run {
  Trainer& trainer;
  saved::History history;
  std::vector<std::string> text_files;
  fs::path folder;
  double training_seconds = 0;  // of this process
  Index first_step = 0;         // of this process

  void save() { saved::save(folder, trainer, history, text_files); }
  double tokens_per_second() const {
    const Index tokens = (trainer.steps_done() - first_step) * trainer.tokens_per_step();
    return training_seconds > 0 ? static_cast<double>(tokens) / training_seconds : 0;
  }
};

void require_same(const saved::Checkpoint& checkpoint, const Trainer& trainer) {
  const std::vector<std::string> lines = saved::differences(checkpoint, trainer);
  if (lines.empty()) return;
  std::string text = "[train] --resume: this run would not go on as the saved one:";
  for (const std::string& line : lines) text += "\n  " + line;
  throw ConfigError(text + "\n  --allow-different goes on all the same");
}

void train_one_step(Run& run, Index validate_every, Progress& progress) {
  Trainer& trainer = run.trainer;
  const auto start = std::chrono::steady_clock::now();
  const Trainer::StepResult result = trainer.step();
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  run.training_seconds += seconds.count();
  const Index step = trainer.steps_done();
  if (!std::isfinite(result.loss) || !std::isfinite(result.gradient_norm)) {
    throw Error(
        fmt::format("[train] step {}: the loss is {}, the gradients' norm {}; try a lower "
                    "--lr. The last checkpoint stays",
                    step, result.loss, result.gradient_norm));
  }
  saved::HistoryRow row{.step = step,
                        .loss = result.loss,
                        .learning_rate = result.learning_rate,
                        .gradient_norm = result.gradient_norm};
  if (step % validate_every == 0 || trainer.is_done()) row.validation_loss = trainer.validate();
  run.history.push_back(row);
  progress.update(step, row.loss, row.validation_loss, run.training_seconds);
}

std::string sample_of(Context& ctx, const LanguageModel& model, std::uint64_t seed) {
  constexpr Index kLength = 500;
  const std::int32_t newline = '\n';
  Generation generation(
      ctx, model, {&newline, 1},
      {.max_tokens = kLength, .sampling = {.temperature = 0.7, .top_p = 0.95, .seed = seed}});
  std::string text;
  while (generation.remaining() > 0) {
    const std::int32_t byte = generation.next();
    const bool is_text = byte == '\n' || byte == '\t' || (byte >= ' ' && byte < 127);
    text +=
        is_text ? static_cast<char>(byte) : '?';  // the page is UTF-8, the model's bytes may not
  }
  return text;
}

// The beginning of the held-out text, short enough that a map shows single bytes.
void show_attention(Context& ctx, const Trainer& trainer, report::TrainingRun& page) {
  const Index length = std::min<Index>(64, trainer.config().sequence_length);
  Tensor window({1, trainer.config().sequence_length}, Dtype::i32);
  Tensor labels(window.shape(), Dtype::i32);
  trainer.text().validation_batch(0, 1, window, labels);
  Tensor tokens({1, length}, Dtype::i32);
  copy(window.view().slice(1, 0, length), tokens);
  for (Index i = 0; i < length; ++i) {
    page.attended += static_cast<char>(tokens.data<std::int32_t>()[i]);
  }
  page.attention_scores = trainer.model().attention_scores(ctx, tokens);
}

void write_report(Context& ctx, const Run& run) {
  const TrainerConfig& config = run.trainer.config();
  report::TrainingRun page;
  for (const saved::Setting& setting : saved::settings_of(config)) {
    page.configuration.emplace_back(setting.name, setting.value);
  }
  page.configuration.emplace_back("isa", name_of(ctx.isa()));
  page.configuration.emplace_back("threads", std::to_string(ctx.num_threads()));
  page.configuration.emplace_back("text", fmt::format("{} bytes", run.trainer.text().size()));
  page.model = language_model_config(config).transformer;
  for (const saved::HistoryRow& row : run.history) {
    page.steps.push_back(static_cast<double>(row.step));
    page.losses.push_back(row.loss);
    if (!row.validation_loss) continue;
    page.validation_steps.push_back(static_cast<double>(row.step));
    page.validation_losses.push_back(*row.validation_loss);
  }
  page.tokens_per_second = run.tokens_per_second();
  page.seconds = run.training_seconds;
  page.sample = sample_of(ctx, run.trainer.model(), config.seed);
  show_attention(ctx, run.trainer, page);
  io::write_file(run.folder / "report.html", report::training_report_html(page));
}

int run_to_the_end(Context& ctx, Run& run, const TrainOptions& options, bool quiet) {
  Trainer& trainer = run.trainer;
  {
    Progress progress(quiet, trainer.config().steps, trainer.steps_done(),
                      trainer.tokens_per_step());
    while (!trainer.is_done() && stop_requested == 0) {
      train_one_step(run, options.validate_every, progress);
      if (trainer.steps_done() % options.save_every == 0 && !trainer.is_done()) run.save();
    }
  }
  run.save();
  if (!trainer.is_done()) {
    fmt::print(
        stderr,
        "stopped and saved after step {} of {}; to go on:\n  grouphead train --resume --out {}\n",
        trainer.steps_done(), trainer.config().steps, options.out);
    return kOk;
  }
  write_report(ctx, run);
  const std::optional<double> measured = run.history.back().validation_loss;
  const double loss = measured ? *measured : trainer.validate();
  fmt::print("validation loss {:.4f} nats per byte ({:.4f} bits per byte) after {} steps\n", loss,
             loss / std::numbers::ln2, trainer.steps_done());
  return kOk;
}

std::vector<std::string> absolute(const std::vector<std::string>& files) {
  std::vector<std::string> paths;
  for (const std::string& file : files) paths.push_back(fs::absolute(file).lexically_normal());
  return paths;
}

/// The weights of another model, for the first step.
void take_weights(const saved::LoadedModel& from, const Trainer& trainer,
                  const std::string& folder) {
  try {
    set_weights(trainer.model(), get_weights(*from.model));
  } catch (const ShapeError& error) {
    throw ConfigError("[train] --init-from " + folder + ": " + error.what());
  }
}

int train(const TrainOptions& options, const std::vector<ConfigOption>& config_options,
          const Globals& globals) {
  install_signal_handlers();
  const fs::path folder = options.out;
  std::optional<saved::Checkpoint> checkpoint;
  std::optional<saved::LoadedModel> initial;
  if (options.resume) {
    checkpoint = saved::read_checkpoint(folder);
  } else if (saved::has_checkpoint(folder)) {
    throw ConfigError(
        "[train] " + options.out +
        ": a training run is there already; go on with --resume, or give another --out");
  }
  if (!options.init_from.empty()) initial = saved::load_language_model(options.init_from);
  TrainerConfig config = checkpoint ? checkpoint->config
                         : initial  ? initial->config
                                    : TrainerConfig{};
  for (const ConfigOption& option : config_options) {
    if (option.option->count() > 0) option.take(options.config, config);
  }
  if (!checkpoint && !options.has_warmup) config.warmup_steps = config.steps / 10;
  const std::vector<std::string> text_files = checkpoint && options.text_files.empty()
                                                  ? checkpoint->text_files
                                                  : absolute(options.text_files);

  Context ctx({.num_threads = globals.threads});
  Trainer trainer(ctx, config, TextData(read_texts(text_files), config.sequence_length));
  Run run{.trainer = trainer, .history = {}, .text_files = text_files, .folder = folder};
  NewFolder new_folder(folder);
  io::remove_leftovers(folder);
  if (checkpoint) {
    if (!options.allow_different) require_same(*checkpoint, trainer);
    saved::restore(*checkpoint, trainer);
    run.history = std::move(checkpoint->history);
    run.first_step = trainer.steps_done();
    checkpoint.reset();
  } else {
    if (initial) take_weights(*initial, trainer, options.init_from);
    run.save();  // before any work: finds out whether the folder can be written
  }
  new_folder.keep();
  if (initial) {
    initial.reset();
    fmt::print("validation loss {:.4f} nats per byte before the first step\n", trainer.validate());
  }
  return run_to_the_end(ctx, run, options, globals.quiet);
}

CLI::Range any_count() { return {Index{1}, Index{1} << 40}; }

std::vector<ConfigOption> add_config_options(CLI::App& verb, TrainOptions& options) {
  std::vector<ConfigOption> config_options;
  const auto add = [&](const char* names, auto TrainerConfig::*member, const char* help) {
    CLI::Option* option = verb.add_option(names, options.config.*member, help)->take_last();
    if (option->get_name() != "--warmup") option->capture_default_str();
    config_options.push_back({option, [member](const TrainerConfig& from, TrainerConfig& to) {
                                to.*member = from.*member;
                              }});
    return option;
  };
  const CLI::Range size(Index{1}, Index{1} << 20);
  add("--steps", &TrainerConfig::steps, "Steps of the whole run")->check(any_count());
  add("--batch", &TrainerConfig::batch_size, "Sequences per step")->check(size);
  add("--seq", &TrainerConfig::sequence_length, "Bytes per sequence")->check(size);
  add("--hidden", &TrainerConfig::hidden_size, "Model width")
      ->check(CLI::Range(Index{1}, Index{1} << 14));
  add("--layers", &TrainerConfig::num_layers, "Blocks")
      ->check(CLI::Range(Index{1}, Index{1} << 10));
  add("--heads", &TrainerConfig::num_heads, "Query heads; they divide the width")->check(size);
  add("--kv-heads", &TrainerConfig::num_key_value_heads,
      "Key/value heads; they divide the query heads")
      ->check(size);
  CLI::Option* rope =
      verb.add_flag("--rope,!--no-rope", options.config.rope, "Rotary position embedding");
  config_options.push_back(
      {rope, [](const TrainerConfig& from, TrainerConfig& to) { to.rope = from.rope; }});
  add("--yarn", &TrainerConfig::yarn_scale, "YaRN context extension by this factor");
  add("--lr", &TrainerConfig::learning_rate, "Highest learning rate")->check(CLI::PositiveNumber);
  add("--warmup", &TrainerConfig::warmup_steps, "Steps until then [a tenth of --steps]")
      ->check(CLI::NonNegativeNumber);
  add("--dropout", &TrainerConfig::dropout, "After attention and feed-forward, in [0, 1)");
  return config_options;
}

}  // namespace

void add_train(CLI::App& app, const Globals& globals, Action& action) {
  CLI::App* verb = app.add_subcommand(
      "train", "Trains a byte-level language model with grouped-query attention on text");
  verb->footer(
      "Example:\n  grouphead train --text book.txt --out model --steps 500\n"
      "Writes into --out: state.safetensors (all that --resume needs), model.safetensors and\n"
      "config.json (for generate), history.csv, report.html. The last 5 % of the text are held "
      "out\n"
      "for validation. Ctrl-C saves; --resume then ends with the bits of a run never stopped.");
  const auto options = std::make_shared<TrainOptions>();
  verb->add_option("--text", options->text_files, "Files to train on, one after the other");
  verb->add_option("--out", options->out, "Folder to write")->required();
  const std::vector<ConfigOption> config_options = add_config_options(*verb, *options);
  CLI::Option* init_from =
      verb->add_option("--init-from", options->init_from,
                       "Start with the weights and by the options of the model in this folder");
  verb->add_flag("--resume", options->resume, "Go on with the run in --out, by its own options")
      ->excludes(init_from);
  verb->add_flag("--allow-different", options->allow_different,
                 "Let a resumed run differ in options, text or instruction set");
  verb->add_option("--save-every", options->save_every, "Steps between checkpoints")
      ->check(any_count())
      ->capture_default_str();
  verb->add_option("--validate-every", options->validate_every, "Steps between validations")
      ->check(any_count())
      ->capture_default_str();
  verb->callback([=, &globals, &action] {
    action = [=, &globals] {
      options->config.seed = globals.seed;
      options->has_warmup = verb->get_option("--warmup")->count() > 0;
      std::vector<ConfigOption> all = config_options;
      all.push_back({verb->get_option("--seed"),
                     [](const TrainerConfig& from, TrainerConfig& to) { to.seed = from.seed; }});
      return train(*options, all, globals);
    };
  });
}

}  // namespace grouphead::tools
