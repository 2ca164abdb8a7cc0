#include "train/tuner.h"

#include <array>
#include <utility>

#include "core/check.h"
#include "train/share_rules.h"

namespace grouphead {
namespace {

constexpr std::array<std::string_view, 3> kParts = {"all", "attention", "lora"};

std::shared_ptr<TransformerModel> checked(std::shared_ptr<TransformerModel> model,
                                          const TunerConfig& config) {
  const TransformerModelConfig& c = model->config();
  if (!c.head || !c.causal) {
    core::throw_config_error("train", "model", "a causal one with a head", "another");
  }
  if (model->policy() != config.dtype) {
    core::throw_config_error("train", "dtype policy",
                             "the model's, " + std::string(model->policy().name()),
                             std::string(config.dtype.name()));
  }
  const Index positions = c.max_positions - c.position_offset;
  if (c.max_positions > 0 && config.training.sequence_length > positions) {
    core::throw_config_error("train", "sequence length",
                             "at most the model's " + std::to_string(positions) + " positions",
                             std::to_string(config.training.sequence_length));
  }
  return model;
}

}  // namespace

TunedPart tuned_part_from_name(std::string_view name) {
  for (std::size_t i = 0; i < kParts.size(); ++i) {
    if (kParts[i] == name) return static_cast<TunedPart>(i);
  }
  core::throw_config_error("train", "part", "all, attention or lora", name);
}

std::string_view name_of(TunedPart part) { return kParts[static_cast<std::size_t>(part)]; }

Tuner::Tuner(Context& ctx, std::shared_ptr<TransformerModel> model, const TunerConfig& config,
             TextData text, parallel::ProcessGrid grid)
    : TextTraining(ctx, config.training, std::move(text), std::move(grid)),
      config_(config),
      model_(checked(std::move(model), config)) {
  if (this->grid().sequence) train::require_sequence_model(model_->config(), "train", "--sp");
  if (this->grid().tensors) make_share();
  if (config.part == TunedPart::lora) {
    lora_ = std::make_unique<LoraModel>(model_, LoraConfig{.rank = config.lora_rank,
                                                           .alpha = config.lora_alpha,
                                                           .seed = config.training.seed});
    compile(*lora_);
    return;
  }
  TransformerModel& trained = shared_ ? *shared_ : *model_;
  for (const auto& [path, parameter] : trained.parameters()) {
    parameter->set_trainable(config.part == TunedPart::all ||
                             path.find("/attention/") != std::string::npos);
  }
  compile(trained);
}

void Tuner::make_share() {
  const TransformerModelConfig& c = model_->config();
  train::require_tensor_model(c);
  if (config_.part == TunedPart::lora) {
    core::throw_config_error("train", "--tp", "1 for low-rank changes, --train lora", "more");
  }
  share_tensors(c.attention.num_key_value_heads, c.feed_forward.width);
  {
    const models::TensorScope scope(tensor_parts());
    shared_ = std::make_unique<TransformerModel>(c);
  }
  models::take_parts(*tensor_parts(), std::as_const(*model_).parameters(), shared_->parameters());
  if (grid().job->rank() != 0) model_.reset();
}

const TransformerModel& Tuner::model() { return lora_ ? *lora_->merged(context()) : *model_; }

std::map<std::string, ConstView> Tuner::weights() {
  if (shared_) {
    const ParameterList whole = model_->parameters();
    const std::vector<train::WholeTensor> trained = model_weights();
    for (std::size_t i = 0; i < whole.size(); ++i) {
      copy(trained[i].read(), whole[i].parameter->edit());
    }
  }
  std::map<std::string, ConstView> weights;
  for (const NamedConstParameter& one : std::as_const(*model_).parameters()) {
    weights.emplace(one.path, one.parameter->value());
  }
  if (!lora_) return weights;
  for (const auto& [path, kernel] : lora_->original()) {
    weights[path] = kernel.reshaped(weights.at(path).shape());
  }
  return weights;
}

ParameterList Tuner::low_rank() { return lora_ ? lora_->parameters() : ParameterList(); }

}  // namespace grouphead
