#pragma once

// What the configurations of GroupQueryAttention and MultiHeadAttention have in common.

#include "core/seed.h"
#include "grouphead/layers/attention_inputs.h"
#include "grouphead/layers/rope.h"
#include "nn/attention/layer_call.h"
#include "nn/attention/projection_config.h"

namespace grouphead::nn {

/// `keras`, `zeros`, `uniform`.
std::string_view name_of(MaskedRows rows) noexcept;
/// Errors: ConfigError that lists the known names.
MaskedRows masked_rows_from_name(std::string_view layer, std::string_view name);

ConfigValue rope_config(const std::optional<RopeConfig>& rope);
std::optional<RopeConfig> rope_from_config(const ConfigValue& config);

/// Errors: ConfigError for values out of range, and for dropout with flash_attention.
void check_logit_options(std::string_view layer, std::optional<double> softcap,
                         std::span<const double> alibi_slopes, bool sinks, MaskedRows masked_rows,
                         Index num_heads);

template <class Config>
void check_attention_config(std::string_view layer, const Config& config, Index num_heads) {
  check_logit_options(layer, config.softcap, config.alibi_slopes, config.sinks, config.masked_rows,
                      num_heads);
  if (!(config.dropout >= 0 && config.dropout <= 1)) {
    core::throw_config_error(layer, "dropout", "0 to 1", std::to_string(config.dropout));
  }
  core::require_seed(config.seed);
  if (config.sliding_window && *config.sliding_window < 1) {
    core::throw_config_error(layer, "sliding_window", "none or 1 or more",
                             std::to_string(*config.sliding_window));
  }
  if (config.flash_attention.value_or(false) && config.dropout > 0) {
    core::throw_config_error(layer, "dropout", "0 with flash_attention",
                             std::to_string(config.dropout));
  }
}

/// The settings but heads, sizes and rope.
template <class Config>
AttentionSettings attention_settings(std::string_view layer, const Config& config) {
  AttentionSettings settings;
  settings.layer = layer;
  settings.dropout = config.dropout;
  settings.seed = config.seed;
  settings.use_gate = config.use_gate;
  settings.softcap = config.softcap;
  settings.alibi_slopes = config.alibi_slopes;
  settings.sinks = config.sinks;
  settings.activity_regularizer = config.activity_regularizer;
  settings.projections = nn::projection_options(config, config.use_bias, true);
  settings.policy = config.dtype;
  return settings;
}

template <class Config>
AttentionRules attention_rules(std::string_view layer, const Config& config) {
  AttentionRules rules;
  rules.layer = layer;
  rules.dropout = config.dropout;
  rules.window = config.sliding_window;
  rules.masked_rows = config.masked_rows;
  rules.flash_attention = config.flash_attention.value_or(false);
  return rules;
}

inline ConfigValue optional_config(const std::optional<Index>& value) {
  return value ? ConfigValue(*value) : ConfigValue();
}

/// The keys from `kernel_initializer` on. Ours stand last, and only where they are set.
template <class Config>
void write_attention_rules(const Config& config, ConfigValue& out) {
  nn::write_initializers_and_regularizers(config, out);
  out.set("activity_regularizer", config.activity_regularizer.config());
  nn::write_constraints(config, out);
  out.set("seed", nn::seed_config(config.seed));
  if (config.softcap) out.set("softcap", *config.softcap);
  if (!config.alibi_slopes.empty()) {
    out.set("alibi_slopes",
            ConfigValue::List(config.alibi_slopes.begin(), config.alibi_slopes.end()));
  }
  if (config.sinks) out.set("sinks", true);
  if (config.masked_rows != MaskedRows::keras) {
    out.set("masked_rows", name_of(config.masked_rows));
  }
}

/// Every field that both configurations have.
template <class Config>
void read_attention_config(std::string_view layer, nn::ConfigReader& reader, Config& config) {
  config.dropout = reader.number("dropout", config.dropout);
  config.use_bias = reader.boolean("use_bias", config.use_bias);
  config.use_gate = reader.boolean("use_gate", config.use_gate);
  if (!reader.value("sliding_window").is_null()) {
    config.sliding_window = reader.integer("sliding_window", 0);
  }
  config.seed = reader.seed();
  if (!reader.value("flash_attention").is_null()) {
    config.flash_attention = reader.boolean("flash_attention", false);
  }
  nn::read_projection_rules(reader, config);
  config.activity_regularizer = reader.choice("activity_regularizer", config.activity_regularizer);
  if (!reader.value("softcap").is_null()) config.softcap = reader.number("softcap", 0);
  if (const ConfigValue& slopes = reader.value("alibi_slopes"); !slopes.is_null()) {
    for (const ConfigValue& slope : slopes.as_list("alibi_slopes")) {
      config.alibi_slopes.push_back(slope.as_number("alibi_slopes"));
    }
  }
  config.sinks = reader.boolean("sinks", false);
  config.masked_rows = masked_rows_from_name(layer, reader.string("masked_rows", "keras"));
  config.name = reader.name(config.name);
  config.dtype = reader.dtype();
}

}  // namespace grouphead::nn
