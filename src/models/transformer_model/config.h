#pragma once

#include "grouphead/models/transformer.h"

namespace grouphead::models {

/// Errors: ConfigError for sizes and combinations that make no model.
void check_transformer_model(const TransformerModelConfig& config);

/// The fields of `config` but the layer's own, into `out`, and back.
void write_transformer_model(const TransformerModelConfig& config, ConfigValue& out);

}  // namespace grouphead::models
