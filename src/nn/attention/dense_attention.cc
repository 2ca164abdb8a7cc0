#include "grouphead/layers/attention.h"
#include "grouphead/layers/initializers.h"
#include "nn/base_config.h"
#include "nn/layer_checks.h"
#include "nn/loading_scope.h"
#include "nn/registry.h"

namespace grouphead {
namespace {

ScoreMode score_mode(nn::ConfigReader& reader, const std::string& layer) {
  const std::string mode = reader.string("score_mode", "dot");
  if (mode != "dot" && mode != "concat") {
    core::throw_config_error(layer, "score_mode", "dot or concat", mode);
  }
  return mode == "dot" ? ScoreMode::dot : ScoreMode::concat;
}

/// What both layers' configurations have.
template <class Config>
void read_common(nn::ConfigReader& reader, Config& config) {
  nn::read_base(reader, config);
  config.use_scale = reader.boolean("use_scale", config.use_scale);
  config.dropout = reader.number("dropout", 0);
  config.seed = reader.seed();
}

}  // namespace

Attention::Attention(const AttentionConfig& config)
    : detail::ScoredAttention(config.name, config.dtype, config.activity_regularizer,
                              {config.dropout, config.seed}),
      config_(config) {}

ConfigValue Attention::get_config() const {
  ConfigValue config = Layer::get_config();
  config.set("use_scale", config_.use_scale);
  config.set("score_mode", is_dot() ? "dot" : "concat");
  config.set("dropout", config_.dropout);
  config.set("seed", nn::seed_config(config_.seed));
  return config;
}

void Attention::create_parameters(std::span<const Shape> inputs, RandomStream& random) {
  start_build(inputs, random);
  if (config_.use_scale) scale_ = one("scale");
  if (!is_dot()) weights_ = one("concat_score_weight");
}

AdditiveAttention::AdditiveAttention(const AdditiveAttentionConfig& config)
    : detail::ScoredAttention(config.name, config.dtype, config.activity_regularizer,
                              {config.dropout, config.seed}),
      config_(config) {}

ConfigValue AdditiveAttention::get_config() const {
  ConfigValue config = Layer::get_config();
  config.set("use_scale", config_.use_scale);
  config.set("dropout", config_.dropout);
  config.set("seed", nn::seed_config(config_.seed));
  return config;
}

void AdditiveAttention::create_parameters(std::span<const Shape> inputs, RandomStream& random) {
  const Index width = start_build(inputs, random);
  if (!config_.use_scale) return;
  if (width < 1) {
    core::throw_shape_error(name(), "query", "a last axis of 1 or more", inputs[0].to_string());
  }
  weights_ = std::make_unique<Parameter>("scale", Shape{width}, policy(),
                                         ParameterOptions{.trainable = trainable()});
  nn::initialize(*weights_, initializers::glorot_uniform(), {width, width}, random);
}

std::shared_ptr<Layer> nn::make_attention(const ConfigValue& config) {
  ConfigReader reader("Attention", config);
  AttentionConfig options;
  read_common(reader, options);
  options.score_mode = score_mode(reader, options.name);
  reader.finish();
  return with_trainable(std::make_shared<Attention>(options), config);
}

std::shared_ptr<Layer> nn::make_additive_attention(const ConfigValue& config) {
  ConfigReader reader("AdditiveAttention", config);
  AdditiveAttentionConfig options;
  read_common(reader, options);
  // Keras takes it from its base class, checks it and does not use it.
  score_mode(reader, options.name);
  reader.finish();
  return with_trainable(std::make_shared<AdditiveAttention>(options), config);
}

}  // namespace grouphead
