#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "grouphead/models/models.h"
#include "grouphead/train/fit.h"
#include "train/text_data.h"

namespace grouphead {

/// One training run of a byte-level language model: everything that decides its bits, but the text
/// and the instruction-set level.
struct TrainerConfig {
  Index hidden_size = 256;        ///< M
  Index num_heads = 8;            ///< Hq
  Index num_key_value_heads = 2;  ///< Hkv
  Index num_layers = 4;           ///< L
  bool rope = true;
  std::optional<double> yarn_scale{};  ///< needs rope; the original context is sequence_length
  double dropout = 0;
  Index sequence_length = 256;  ///< T
  Index batch_size = 16;        ///< B
  Index steps = 400;
  double learning_rate = 2e-3;  ///< reached after warm-up, then a cosine down to a tenth
  Index warmup_steps = 40;
  double weight_decay = 0.1;
  double clipnorm = 1;
  std::uint64_t seed = 0;  ///< of weights, batches and dropout
  Dtype dtype = Dtype::f32;

  friend bool operator==(const TrainerConfig&, const TrainerConfig&) = default;
};

LanguageModelConfig language_model_config(const TrainerConfig& config);
/// The defaults with the sizes of `model`. Errors: ConfigError for a model that Trainer does not
/// make: another vocabulary than bytes, or other options than TrainerConfig has.
TrainerConfig trainer_config(const LanguageModelConfig& model);

/// Trains step by step, with CompiledModel's step. After restore(), with the same weights and
/// moments, it goes on as if it had never stopped: batches and dropout are functions of the step.
class Trainer {
 public:
  /// Errors: ConfigError.
  Trainer(Context& ctx, const TrainerConfig& config, TextData text);

  struct StepResult {
    double loss = 0;  ///< nats per byte, before the step
    double learning_rate = 0;
    double gradient_norm = 0;  ///< before clipping
  };
  StepResult step();
  /// Mean loss over windows spread over the held-out part, nats per byte.
  double validate();

  Index steps_done() const noexcept { return steps_done_; }
  bool is_done() const noexcept { return steps_done_ >= config_.steps; }
  Index tokens_per_step() const noexcept { return config_.batch_size * config_.sequence_length; }

  const Context& context() const noexcept { return ctx_; }
  const TrainerConfig& config() const noexcept { return config_; }
  const TextData& text() const noexcept { return text_; }
  const LanguageModel& model() const noexcept { return model_; }
  LanguageModel& model() noexcept { return model_; }
  AdamW& optimizer() noexcept { return *optimizer_; }
  const RandomStream& dropout_stream() const noexcept { return dropout_stream_; }
  /// Sets what is not in weights and moments.
  void restore(Index steps_done, std::uint64_t next_dropout_draw) noexcept;

 private:
  Context& ctx_;
  TrainerConfig config_;
  TextData text_;
  LanguageModel model_;
  std::shared_ptr<AdamW> optimizer_;
  CompiledModel compiled_;
  RandomStream dropout_stream_;
  Tensor tokens_;  // [B, T]
  Tensor labels_;  // [B, T]
  Index steps_done_ = 0;
};

}  // namespace grouphead
