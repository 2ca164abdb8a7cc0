#pragma once

// Keras's quantized dtype policies and `quantization_config`, both ways.

#include <optional>
#include <string>

#include "grouphead/layers/quantization.h"
#include "nn/config_reader.h"

namespace grouphead::nn {

/// A policy such as `int8_from_float32`, or its envelope.
struct QuantizedPolicy {
  std::string mode;    ///< `int8`, `int4`, `int4/128`, `float8`, `gptq/4/128`, ...
  std::string source;  ///< the policy of the layer before
};
/// Nothing for other policies.
std::optional<QuantizedPolicy> quantized_policy(const ConfigValue& dtype);
/// Whether weights of this mode are read.
bool is_read_mode(std::string_view mode);

/// Errors: ConfigError for a rounding that Keras's layers have not, or not with this mode.
void require_quantization(std::string_view layer, const Quantization& how);

/// The quantization of a layer with one kernel or table. `is_reversible`: of a ReversibleEmbedding,
/// which rounds its inputs where there is no `quantization_config` with 4 bits, and asks the
/// quantizer for its axis.
/// Errors: ConfigError for a quantizer that is not Keras's own, and for GPTQ's keys.
std::optional<Quantization> read_quantization(ConfigReader& reader, std::string_view layer,
                                              bool is_reversible = false);

/// Keras's `quantization_config` of these choices.
ConfigValue quantization_config(const Quantization& how);

/// Keras's `dtype` and `quantization_config` of a layer: quantized ones where the kernel is so, or,
/// before there is one (null), where the layer's configuration says so.
void write_quantization(const Layer& layer, const Parameter* kernel,
                        const std::optional<Quantization>& given, ConfigValue& out);

}  // namespace grouphead::nn
