#include "train/trainer.h"

#include <algorithm>
#include <cmath>

#include "core/check.h"
#include "core/number_text.h"
#include "models/transformer_config.h"

namespace grouphead {
namespace {

constexpr Index kValidationBatches = 8;  // at most: about three training steps' worth of time

// Seeds of streams that must not share numbers with the initial weights' stream.
constexpr std::uint64_t kBatchStream = 0x9e3779b97f4a7c15;
constexpr std::uint64_t kDropoutStream = 0xd1b54a32d192ed03;

void require(bool holds, std::string_view option, std::string_view expected,
             const std::string& got) {
  if (!holds) detail::throw_config_error("train", option, expected, got);
}

TrainerConfig checked(const TrainerConfig& config) {
  require(config.batch_size >= 1, "batch size", "1 or more", std::to_string(config.batch_size));
  require(config.steps >= 1, "steps", "1 or more", std::to_string(config.steps));
  require(config.warmup_steps >= 0 && config.warmup_steps < config.steps, "warm-up steps",
          "fewer than the " + std::to_string(config.steps) + " steps",
          std::to_string(config.warmup_steps));
  require(std::isfinite(config.learning_rate) && config.learning_rate > 0, "learning rate",
          "a number above 0", detail::number_text(config.learning_rate));
  require(config.rope || !config.yarn_scale, "yarn", "rope with it", "no rope");
  return config;
}

CosineDecay schedule_of(const TrainerConfig& config) {
  return {.initial_learning_rate = config.learning_rate / 10,
          .decay_steps = config.steps - config.warmup_steps,
          .alpha = 0.1,
          .warmup_target = config.learning_rate,
          .warmup_steps = config.warmup_steps};
}

AdamWConfig adamw_config(const TrainerConfig& config) {
  return {.learning_rate = schedule_of(config),
          .weight_decay = config.weight_decay,
          .options = {.global_clipnorm = config.clipnorm}};
}

}  // namespace

LanguageModelConfig language_model_config(const TrainerConfig& config) {
  LanguageModelConfig model;
  model.vocab_size = 256;
  model.seed = config.seed;
  model.transformer = {.hidden_size = config.hidden_size,
                       .num_heads = config.num_heads,
                       .num_key_value_heads = config.num_key_value_heads,
                       .num_layers = config.num_layers,
                       .dropout = config.dropout,
                       .dtype = config.dtype};
  if (config.rope) model.transformer.rope = RopeConfig{};
  if (config.rope && config.yarn_scale) {
    model.transformer.rope->yarn =
        YarnConfig{.scale = *config.yarn_scale, .original_max_position = config.sequence_length};
  }
  return model;
}

TrainerConfig trainer_config(const LanguageModelConfig& model) {
  const TransformerConfig& stack = model.transformer;
  TrainerConfig config{.hidden_size = stack.hidden_size,
                       .num_heads = stack.num_heads,
                       .num_key_value_heads = stack.num_key_value_heads,
                       .num_layers = stack.num_layers,
                       .rope = stack.rope.has_value(),
                       .dropout = stack.dropout,
                       .seed = model.seed,
                       .dtype = stack.dtype};
  if (stack.rope && stack.rope->yarn) {
    config.yarn_scale = stack.rope->yarn->scale;
    config.sequence_length = stack.rope->yarn->original_max_position;
  }
  const LanguageModelConfig made = language_model_config(config);
  require(made.vocab_size == model.vocab_size && is_same(made.transformer, stack), "model",
          "one of bytes, with no options but those of `train`", "another");
  return config;
}

Trainer::Trainer(Context& ctx, const TrainerConfig& config, TextData text)
    : ctx_(ctx),
      config_(checked(config)),
      text_(std::move(text)),
      model_(language_model_config(config)),
      optimizer_(std::make_shared<AdamW>(adamw_config(config))),
      compiled_(model_, {.optimizer = optimizer_,
                         .loss = {sparse_categorical_crossentropy({.from_logits = true})}}),
      dropout_stream_(config.seed ^ kDropoutStream),
      tokens_({config.batch_size, config.sequence_length}, Dtype::i32),
      labels_({config.batch_size, config.sequence_length}, Dtype::i32) {
  if (text_.sequence_length() != config.sequence_length) {
    detail::throw_config_error("train", "text's sequence length",
                               std::to_string(config.sequence_length),
                               std::to_string(text_.sequence_length()));
  }
}

Trainer::StepResult Trainer::step() {
  const RandomKey key{config_.seed ^ kBatchStream, static_cast<std::uint64_t>(steps_done_)};
  text_.training_batch(key, tokens_, labels_);
  StepResult result;
  result.learning_rate = optimizer_->learning_rate();
  result.loss = compiled_.train_on_batch(ctx_, {.x = {tokens_}, .y = {labels_}}, &dropout_stream_);
  result.gradient_norm = compiled_.gradient_norm();
  ++steps_done_;
  return result;
}

double Trainer::validate() {
  const Index windows =
      std::min(text_.num_validation_windows(), kValidationBatches * config_.batch_size);
  double sum = 0;
  for (Index first = 0; first < windows; first += config_.batch_size) {
    const Index rows = std::min(config_.batch_size, windows - first);
    const Shape shape{rows, config_.sequence_length};
    Data batch{.x = {ctx_.tensor(shape, Dtype::i32)}, .y = {ctx_.tensor(shape, Dtype::i32)}};
    text_.validation_batch(first, windows, batch.x[0], batch.y[0]);
    sum += compiled_.test_on_batch(ctx_, batch) * static_cast<double>(rows);
  }
  return sum / static_cast<double>(windows);
}

void Trainer::restore(Index steps_done, std::uint64_t next_dropout_draw) noexcept {
  steps_done_ = steps_done;
  optimizer_->set_iterations(steps_done);
  dropout_stream_ = RandomStream(dropout_stream_.seed(), next_dropout_draw);
}

}  // namespace grouphead
