#include "tools/training_run.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <cmath>

#include "grouphead/models/generation.h"
#include "io/file.h"
#include "tools/progress.h"
#include "tools/report/training_report.h"
#include "tools/signals.h"

namespace grouphead::tools {
namespace {

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
void show_attention(Context& ctx, const Trainer& trainer, const LanguageModel& model,
                    report::TrainingPage& page) {
  const Index length = std::min<Index>(64, trainer.config().sequence_length);
  Tensor window({1, trainer.config().sequence_length}, Dtype::i32);
  Tensor labels(window.shape(), Dtype::i32);
  trainer.text().validation_batch(0, 1, window, labels);
  Tensor tokens({1, length}, Dtype::i32);
  copy(window.view().slice(1, 0, length), tokens);
  for (Index i = 0; i < length; ++i) {
    page.attended += static_cast<char>(tokens.data<std::int32_t>()[i]);
  }
  page.attention_scores = model.attention_scores(ctx, tokens);
}

}  // namespace

void TrainingRun::save() {
  training.save([this] {
    const WritesFiles writes;
    write(history);
  });
}

bool TrainingRun::is_stopped() const {
  return training.job() != nullptr ? training.job()->any(stop_requested()) : stop_requested();
}

// The events of all processes in one file.
void TrainingRun::write_trace() {
  Communicator* const job = training.job();
  const int rank = job != nullptr ? job->rank() : 0;
  std::vector<std::string> all = {trace.json_events(rank)};
  if (job != nullptr) all = job->all_gather(all.front());
  if (rank != 0) return;
  const WritesFiles writes;
  io::write_file(trace_file, fmt::format("[\n{}\n]\n", fmt::join(all, ",\n")), io::Links::followed);
}

void TrainingRun::train() {
  {
    Progress progress(quiet, training.steps(), training.steps_done(), training.tokens_per_step(),
                      unit);
    if (!trace_file.empty()) training.set_trace(&trace);
    while (!training.is_done() && !is_stopped()) {
      train_one_step();
      const saved::HistoryRow& row = history.back();
      progress.update(row.step, row.loss, row.validation_loss, training_seconds);
      if (row.step % save_every == 0 && !training.is_done()) save();
    }
  }
  save();
  if (!trace_file.empty()) write_trace();
}

void TrainingRun::train_one_step() {
  const auto start = std::chrono::steady_clock::now();
  const TextTraining::StepResult result = training.step();
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  training_seconds += seconds.count();
  const Index step = training.steps_done();
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
  if (step % validate_every == 0 || training.is_done()) row.validation_loss = training.validate();
  history.push_back(row);
}

double TrainingRun::validation_loss() {
  const std::optional<double> measured = history.back().validation_loss;
  return measured ? *measured : training.validate();
}

void write_report(Context& ctx, const Trainer& trainer, const LanguageModel& model,
                  const TrainingRun& run) {
  const TrainerConfig& config = trainer.config();
  report::TrainingPage page;
  for (const saved::Setting& setting : saved::settings_of(config)) {
    page.configuration.emplace_back(setting.name, setting.value);
  }
  page.configuration.emplace_back("isa", name_of(ctx.isa()));
  page.configuration.emplace_back("threads", std::to_string(ctx.num_threads()));
  page.configuration.emplace_back("text", fmt::format("{} bytes", trainer.text().size()));
  page.model = language_model_config(config).transformer;
  for (const saved::HistoryRow& row : run.history) {
    page.steps.push_back(static_cast<double>(row.step));
    page.losses.push_back(row.loss);
    page.learning_rates.push_back(row.learning_rate);
    page.gradient_norms.push_back(row.gradient_norm);
    if (!row.validation_loss) continue;
    page.validation_steps.push_back(static_cast<double>(row.step));
    page.validation_losses.push_back(*row.validation_loss);
  }
  if (run.training_seconds > 0) {
    const Index tokens = (trainer.steps_done() - run.first_step) * trainer.tokens_per_step();
    page.tokens_per_second = static_cast<double>(tokens) / run.training_seconds;
    page.seconds = run.training_seconds;
  }
  page.sample = sample_of(ctx, model, config.seed);
  show_attention(ctx, trainer, model, page);
  const WritesFiles writes;
  io::write_file(run.folder / "report.html", report::training_report_html(page),
                 io::Links::replaced);
}

}  // namespace grouphead::tools
