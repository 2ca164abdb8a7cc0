#include "train/text_training.h"

#include <algorithm>
#include <cmath>

#include "core/check.h"
#include "core/number_text.h"

namespace grouphead {
namespace {

constexpr Index kValidationBatches = 8;  // at most: about three training steps' worth of time

// Seeds of streams that must not share numbers with the initial weights' stream.
constexpr std::uint64_t kBatchStream = 0x9e3779b97f4a7c15;
constexpr std::uint64_t kDropoutStream = 0xd1b54a32d192ed03;

void require(bool holds, std::string_view option, std::string_view expected,
             const std::string& got) {
  if (!holds) core::throw_config_error("train", option, expected, got);
}

TextTrainingConfig checked(const TextTrainingConfig& config, const parallel::ProcessGrid& grid) {
  const int processes = grid.batch_size();
  require(config.batch_blocks >= processes && config.batch_blocks <= config.batch_size,
          "batch blocks",
          processes > 1 ? "one or more for each of " + std::to_string(processes) +
                              " processes, and at most the batch size"
                        : "1 to the batch size",
          std::to_string(config.batch_blocks));
  require(config.batch_size >= 1, "batch size", "1 or more", std::to_string(config.batch_size));
  const Index sequence = grid.sequence ? grid.sequence->size() : 1;
  require(sequence == 1 || config.sequence_length % (2 * sequence) == 0, "sequence length",
          "a multiple of two for each of the " + std::to_string(sequence) +
              " processes that share out a sequence",
          std::to_string(config.sequence_length));
  require(config.accumulate >= 1, "accumulate", "1 or more", std::to_string(config.accumulate));
  require(config.steps >= 1, "steps", "1 or more", std::to_string(config.steps));
  require(config.warmup_steps >= 0 && config.warmup_steps < config.steps, "warm-up steps",
          "fewer than the " + std::to_string(config.steps) + " steps",
          std::to_string(config.warmup_steps));
  require(std::isfinite(config.learning_rate) && config.learning_rate > 0, "learning rate",
          "a number above 0", core::number_text(config.learning_rate));
  return config;
}

CosineDecay schedule_of(const TextTrainingConfig& config) {
  return {.initial_learning_rate = config.learning_rate / 10,
          .decay_steps = config.steps - config.warmup_steps,
          .alpha = 0.1,
          .warmup_target = config.learning_rate,
          .warmup_steps = config.warmup_steps};
}

std::shared_ptr<AdamW> optimizer_of(const TextTrainingConfig& config) {
  OptimizerOptions options{.global_clipnorm = config.clipnorm};
  if (config.accumulate > 1) options.gradient_accumulation_steps = config.accumulate;
  auto optimizer = std::make_shared<AdamW>(AdamWConfig{.learning_rate = schedule_of(config),
                                                       .weight_decay = config.weight_decay,
                                                       .options = options});
  if (!config.decays_all) optimizer->exclude_from_weight_decay({}, {"bias", "gamma", "beta"});
  return optimizer;
}

}  // namespace

TextTraining::TextTraining(Context& ctx, const TextTrainingConfig& config, TextData text,
                           parallel::ProcessGrid grid)
    : ctx_(ctx),
      config_(checked(config, grid)),
      grid_(std::move(grid)),
      text_(std::move(text)),
      optimizer_(optimizer_of(config)),
      dropout_stream_(config.seed ^ kDropoutStream),
      tokens_({config.batch_size, config.sequence_length}, Dtype::i32),
      labels_({config.batch_size, config.sequence_length}, Dtype::i32) {
  require(text_.sequence_length() == config.sequence_length, "text's sequence length",
          std::to_string(config.sequence_length), std::to_string(text_.sequence_length()));
}

void TextTraining::compile(Layer& model) {
  compiled_.emplace(model,
                    CompileConfig{.optimizer = optimizer_,
                                  .loss = {sparse_categorical_crossentropy({.from_logits = true})},
                                  .communicator = grid_.data,
                                  .sequence = grid_.sequence,
                                  .batch_blocks = config_.batch_blocks});
  parameters_ = model.parameters();
  if (share_) share_->own(parameters_, *optimizer_);
}

void TextTraining::share_tensors(Index heads, Index columns) {
  share_ = std::make_unique<train::TensorShare>(grid_.tensors, heads, columns);
}

std::vector<train::WholeTensor> TextTraining::model_weights() {
  return share_ ? share_->weights() : train::whole_tensors(parameters_);
}

std::vector<train::WholeTensor> TextTraining::moments() {
  return share_ ? share_->moments() : train::whole_tensors(*optimizer_);
}

void TextTraining::save(const std::function<void()>& write) {
  optimizer_->gather_state();
  if (grid_.data && grid_.data->rank() != 0) return;
  share_ ? share_->save(write) : write();
}

TextTraining::StepResult TextTraining::step() {
  StepResult result;
  result.learning_rate = optimizer_->learning_rate();
  for (Index i = 0; i < config_.accumulate; ++i) {
    const RandomKey key{config_.seed ^ kBatchStream,
                        static_cast<std::uint64_t>(steps_done_ * config_.accumulate + i)};
    text_.training_batch(key, tokens_, labels_);
    result.loss +=
        compiled_->train_on_batch(ctx_, {.x = {tokens_}, .y = {labels_}}, &dropout_stream_);
  }
  result.loss /= static_cast<double>(config_.accumulate);
  result.gradient_norm = compiled_->gradient_norm();
  ++steps_done_;
  return result;
}

double TextTraining::validate() {
  const Index windows =
      std::min(text_.num_validation_windows(), kValidationBatches * config_.batch_size);
  double sum = 0;
  for (Index first = 0; first < windows; first += config_.batch_size) {
    const Index rows = std::min(config_.batch_size, windows - first);
    const Shape shape{rows, config_.sequence_length};
    Data batch{.x = {ctx_.tensor(shape, Dtype::i32)}, .y = {ctx_.tensor(shape, Dtype::i32)}};
    text_.validation_batch(first, windows, batch.x[0], batch.y[0]);
    sum += compiled_->test_on_batch(ctx_, batch) * static_cast<double>(rows);
  }
  return sum / static_cast<double>(windows);
}

void TextTraining::restore(Index steps_done, std::uint64_t next_dropout_draw) noexcept {
  steps_done_ = steps_done;
  optimizer_->set_iterations(steps_done);
  dropout_stream_ = RandomStream(dropout_stream_.seed(), next_dropout_draw);
}

}  // namespace grouphead
