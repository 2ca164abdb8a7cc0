#pragma once

#include "grouphead/models/models.h"
#include "nn/config_reader.h"

namespace grouphead {

/// The fields of `config` but dtype, which the layer around it writes, into `out`.
void write_transformer_config(const TransformerConfig& config, ConfigValue& out);
/// Reads them back; a missing key leaves its field. Errors: ConfigError for values of another type.
void read_transformer_config(nn::ConfigReader& reader, TransformerConfig& config);

/// Whether two configurations make the same model.
bool is_same(const TransformerConfig& a, const TransformerConfig& b);

/// The key `dtype` of a model of one type. Errors: ConfigError unless f32 or f64.
Dtype dtype_from(std::string_view model, nn::ConfigReader& reader);

/// What nn::seed_config() writes.
inline std::uint64_t seed_from(nn::ConfigReader& reader) {
  return static_cast<std::uint64_t>(reader.integer("seed", 0));
}

}  // namespace grouphead
