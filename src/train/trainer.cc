#include "train/trainer.h"

#include "core/check.h"
#include "models/transformer_config.h"

namespace grouphead {
namespace {

void require(bool holds, std::string_view option, std::string_view expected,
             const std::string& got) {
  if (!holds) core::throw_config_error("train", option, expected, got);
}

TextTrainingConfig text_training(const TrainerConfig& config) {
  require(config.rope || !config.yarn_scale, "yarn", "rope with it", "no rope");
  return {.sequence_length = config.sequence_length,
          .batch_size = config.batch_size,
          .steps = config.steps,
          .learning_rate = config.learning_rate,
          .warmup_steps = config.warmup_steps,
          .weight_decay = config.weight_decay,
          .clipnorm = config.clipnorm,
          .seed = config.seed,
          .batch_blocks = config.batch_blocks};
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

Trainer::Trainer(Context& ctx, const TrainerConfig& config, TextData text,
                 parallel::ProcessGrid grid)
    : TextTraining(ctx, text_training(config), std::move(text), std::move(grid)), config_(config) {
  const LanguageModelConfig model = language_model_config(config);
  if (this->grid().tensors) {
    share_tensors(model.transformer.num_key_value_heads, 4 * model.transformer.hidden_size);
  }
  {
    const models::TensorScope scope(tensor_parts());
    model_ = std::make_unique<LanguageModel>(model);
  }
  compile(*model_);
}

}  // namespace grouphead
