#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "grouphead/models/models.h"
#include "train/text_training.h"

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
  Index batch_blocks =
      1;  ///< parts of a batch that gradients are summed over, for several processes

  friend bool operator==(const TrainerConfig&, const TrainerConfig&) = default;
};

LanguageModelConfig language_model_config(const TrainerConfig& config);
/// The defaults with the sizes of `model`. Errors: ConfigError for a model that Trainer does not
/// make: another vocabulary than bytes, or other options than TrainerConfig has.
TrainerConfig trainer_config(const LanguageModelConfig& model);

/// A run of such a model.
class Trainer final : public TextTraining {
 public:
  /// `grid`: the processes that train together. Errors: ConfigError.
  Trainer(Context& ctx, const TrainerConfig& config, TextData text,
          parallel::ProcessGrid grid = {});

  const TrainerConfig& config() const noexcept { return config_; }
  /// Where processes share out tensors, this one's share: all of them call it.
  const LanguageModel& model() const noexcept { return *model_; }
  LanguageModel& model() noexcept { return *model_; }

 private:
  TrainerConfig config_;
  std::unique_ptr<LanguageModel> model_;
};

}  // namespace grouphead
