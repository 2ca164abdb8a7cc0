#pragma once

// What the configurations of the layers with a kernel and a bias have in common: initializers,
// regularizers and constraints of both, under Keras's names.

#include "core/check.h"
#include "nn/attention/projection.h"
#include "nn/config_reader.h"

namespace grouphead::nn {

template <class Config>
ProjectionOptions projection_options(const Config& config, bool use_bias, bool trainable) {
  return {.use_bias = use_bias,
          .trainable = trainable,
          .kernel_initializer = config.kernel_initializer,
          .bias_initializer = config.bias_initializer,
          .kernel_regularizer = config.kernel_regularizer,
          .bias_regularizer = config.bias_regularizer,
          .kernel_constraint = config.kernel_constraint,
          .bias_constraint = config.bias_constraint};
}

// Keras's keys, in its order; some layers have `activity_regularizer` between the two.
template <class Config>
void write_initializers_and_regularizers(const Config& config, ConfigValue& out) {
  out.set("kernel_initializer", config.kernel_initializer.config());
  out.set("bias_initializer", config.bias_initializer.config());
  out.set("kernel_regularizer", config.kernel_regularizer.config());
  out.set("bias_regularizer", config.bias_regularizer.config());
}
template <class Config>
void write_constraints(const Config& config, ConfigValue& out) {
  out.set("kernel_constraint", config.kernel_constraint.config());
  out.set("bias_constraint", config.bias_constraint.config());
}

/// All of them from a configuration; absent ones keep their value.
template <class Config>
void read_projection_rules(ConfigReader& reader, Config& config) {
  config.kernel_initializer = reader.choice("kernel_initializer", config.kernel_initializer);
  config.bias_initializer = reader.choice("bias_initializer", config.bias_initializer);
  config.kernel_regularizer = reader.choice("kernel_regularizer", config.kernel_regularizer);
  config.bias_regularizer = reader.choice("bias_regularizer", config.bias_regularizer);
  config.kernel_constraint = reader.choice("kernel_constraint", config.kernel_constraint);
  config.bias_constraint = reader.choice("bias_constraint", config.bias_constraint);
}

/// Keys of quantized weights, which files come without: null or absent.
/// Errors: ConfigError for other values.
inline void require_plain_weights(ConfigReader& reader, std::string_view layer) {
  for (const char* key : {"gptq_unpacked_column_size", "quantization_config"}) {
    const ConfigValue& value = reader.value(key);
    if (!value.is_null()) core::throw_config_error(layer, key, "null", value.to_string());
  }
}

}  // namespace grouphead::nn
