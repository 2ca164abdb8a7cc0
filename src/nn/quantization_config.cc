#include "nn/quantization_config.h"

#include <charconv>

#include "core/check.h"
#include "nn/quantized_numbers.h"

namespace grouphead::nn {
namespace {

constexpr std::string_view kConfig = "quantization_config";
constexpr std::string_view kInt4 = "int4";
constexpr std::string_view kFloat8 = "float8";
constexpr std::string_view kHistory = "amax_history_length";
constexpr std::string_view kRounding = "a value_range within -128 and 127, and a small epsilon";
constexpr double kLeastByte = -128;
constexpr double kMostByte = 127;

[[noreturn]] void refuse(std::string_view layer, std::string_view expected,
                         const ConfigValue& got) {
  core::throw_config_error(layer, kConfig, expected, got.to_string());
}

bool is_rounding(const InputRounding& rule) {
  return rule.least >= kLeastByte && rule.least <= 0 && rule.most > 0 && rule.most <= kMostByte &&
         rule.epsilon >= 0 && rule.epsilon <= 1;
}

/// Source: keras.quantizers.AbsMaxQuantizer. Layers give its axis, but for ReversibleEmbedding.
InputRounding read_rounding(std::string_view layer, const ConfigValue& quantizer) {
  const ConfigValue& options = quantizer["config"];
  const bool is_known =
      quantizer["class_name"] == ConfigValue("AbsMaxQuantizer") &&
      (options["output_dtype"].is_null() || options["output_dtype"] == ConfigValue("int8"));
  if (!is_known) refuse(layer, "an AbsMaxQuantizer to int8", quantizer);
  InputRounding rule;
  if (!options["value_range"].is_null()) {
    const auto& range = options["value_range"].as_list("value_range");
    if (range.size() != 2) refuse(layer, "a value_range of two numbers", quantizer);
    rule.least = range[0].as_number("value_range");
    rule.most = range[1].as_number("value_range");
  }
  if (!options["epsilon"].is_null()) rule.epsilon = options["epsilon"].as_number("epsilon");
  if (!is_rounding(rule)) refuse(layer, kRounding, quantizer);
  return rule;
}

/// Of a ReversibleEmbedding, which takes the quantizer's.
void require_last_axis(std::string_view layer, const ConfigValue& quantizer) {
  const ConfigValue& axis = quantizer["config"]["axis"];
  const ConfigValue last(-1);
  if (axis.is_null() || axis == last || axis == ConfigValue(ConfigValue::List{last})) return;
  refuse(layer, "a quantizer along the last axis", quantizer);
}

/// The number in `int4/128`; 0 where an output has one scale.
Index block_size_of(std::string_view layer, std::string_view mode) {
  if (mode == kInt4) return 0;
  const std::string_view digits = mode.substr(kInt4.size() + 1);
  Index size = 0;
  const auto read = std::from_chars(digits.data(), digits.data() + digits.size(), size);
  const bool is_number = read.ptr == digits.data() + digits.size() && read.ec == std::errc();
  if (!is_number || size < -1 || size == 0) {
    core::throw_config_error(layer, "dtype", "int4 with a block size of 1 or more, or -1", mode);
  }
  return size < 0 ? 0 : size;
}

ConfigValue number(double x) {
  const auto whole = static_cast<Index>(x);
  return static_cast<double>(whole) == x ? ConfigValue(whole) : ConfigValue(x);
}

ConfigValue rounding_config(const std::optional<InputRounding>& rule) {
  if (!rule) return {};
  return config_envelope("keras.quantizers", "AbsMaxQuantizer",
                         ConfigValue::Object{{"value_range", ConfigValue::List{number(rule->least),
                                                                               number(rule->most)}},
                                             {"epsilon", rule->epsilon},
                                             {"output_dtype", "int8"}});
}

ConfigValue policy_config(const Quantization& how, const DtypePolicy& source) {
  if (how.mode == QuantizationMode::float8) {
    return config_envelope("keras.dtype_policies", "QuantizedFloat8DTypePolicy",
                           ConfigValue::Object{{"mode", kFloat8},
                                               {"source_name", source.name()},
                                               {std::string(kHistory), how.amax_history_length}});
  }
  const bool is_int4 = how.mode == QuantizationMode::int4;
  const std::string mode =
      is_int4 ? "int4/" + std::to_string(how.block_size > 0 ? how.block_size : -1) : "int8";
  return config_envelope("keras.dtype_policies",
                         is_int4 ? "Int4DTypePolicy" : "QuantizedDTypePolicy",
                         ConfigValue::Object{{"mode", mode}, {"source_name", source.name()}});
}

}  // namespace

std::optional<QuantizedPolicy> quantized_policy(const ConfigValue& dtype) {
  constexpr std::string_view kMark = "_from_";
  if (dtype.is_string()) {
    const std::string& name = dtype.as_string("dtype");
    const std::size_t mark = name.find(kMark);
    if (mark == std::string::npos) return {};
    return QuantizedPolicy{name.substr(0, mark), name.substr(mark + kMark.size())};
  }
  if (!dtype.is_object() || !dtype["config"].is_object()) return {};
  const ConfigValue& mode = dtype["config"]["mode"];
  const ConfigValue& source = dtype["config"]["source_name"];
  if (!mode.is_string() || !source.is_string()) return {};
  return QuantizedPolicy{mode.as_string("mode"), source.as_string("source_name")};
}

bool is_read_mode(std::string_view mode) {
  return mode == "int8" || mode == kInt4 || mode == kFloat8 || mode.starts_with("int4/");
}

std::optional<Quantization> read_quantization(ConfigReader& reader, std::string_view layer,
                                              bool is_reversible) {
  const ConfigValue& unpacked = reader.value("gptq_unpacked_column_size");
  if (!unpacked.is_null()) {
    core::throw_config_error(layer, "gptq_unpacked_column_size", "null", unpacked.to_string());
  }
  const ConfigValue& config = reader.value(kConfig);
  if (!config.is_null() && !config.is_object()) refuse(layer, "null or an object", config);
  const std::optional<QuantizedPolicy> policy = quantized_policy(reader.value("dtype"));
  if (!policy || !is_read_mode(policy->mode)) return {};
  Quantization how{.config = config};
  if (policy->mode == kFloat8) {
    how.mode = QuantizationMode::float8;
    const ConfigValue& dtype = reader.value("dtype");
    const ConfigValue& length = dtype.is_object() ? dtype["config"][kHistory] : ConfigValue();
    if (!length.is_null()) how.amax_history_length = length.as_integer(kHistory);
    return how;
  }
  if (policy->mode != "int8") {
    how.mode = QuantizationMode::int4;
    how.block_size = block_size_of(layer, policy->mode);
  }
  if (config.is_null()) {
    if (how.mode == QuantizationMode::int8 || is_reversible) how.inputs = InputRounding();
    return how;
  }
  const ConfigValue& quantizer = config["config"]["activation_quantizer"];
  if (quantizer.is_null()) return how;
  if (is_reversible) require_last_axis(layer, quantizer);
  how.inputs = read_rounding(layer, quantizer);
  return how;
}

ConfigValue quantization_config(const Quantization& how) {
  constexpr std::string_view kModule = "keras.quantizers";
  if (how.mode == QuantizationMode::float8) {
    return config_envelope(kModule, "Float8QuantizationConfig", ConfigValue::Object{});
  }
  ConfigValue config = ConfigValue::Object{{"weight_quantizer", ConfigValue()},
                                           {"activation_quantizer", rounding_config(how.inputs)}};
  if (how.mode == QuantizationMode::int8) {
    return config_envelope(kModule, "Int8QuantizationConfig", config);
  }
  config.set("block_size", how.block_size > 0 ? how.block_size : -1);
  return config_envelope(kModule, "Int4QuantizationConfig", config);
}

void require_quantization(std::string_view layer, const Quantization& how) {
  const bool is_int4 = how.mode == QuantizationMode::int4;
  if (is_int4 && how.block_size < 0) {
    core::throw_config_error(layer, "block_size", "1 or more, or 0: no blocks",
                             std::to_string(how.block_size));
  }
  if (is_int4 && how.block_size > 0 && how.inputs) {
    core::throw_config_error(layer, "inputs", "none beside a block_size", "a rounding");
  }
  if (how.mode == QuantizationMode::float8 && how.amax_history_length < 1) {
    core::throw_config_error(layer, kHistory, "1 or more", std::to_string(how.amax_history_length));
  }
  if (how.inputs && !is_rounding(*how.inputs)) {
    core::throw_config_error(layer, "inputs", kRounding, rounding_config(how.inputs).to_string());
  }
}

void write_quantization(const Layer& layer, const Parameter* kernel,
                        const std::optional<Quantization>& given, ConfigValue& out) {
  const Quantization* how = given ? &*given : nullptr;
  const bool is_float8 = how != nullptr && how->mode == QuantizationMode::float8;
  if (kernel != nullptr && !is_float8) {
    how = kernel->quantized() == nullptr ? nullptr : &kernel->quantized()->how();
  }
  out.set(kConfig, how == nullptr ? ConfigValue() : how->config);
  if (how != nullptr) out.set("dtype", policy_config(*how, layer.policy()));
}

}  // namespace grouphead::nn
