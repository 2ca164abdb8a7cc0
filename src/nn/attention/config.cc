#include "nn/attention/config.h"

#include <cmath>

#include "core/number_text.h"

namespace grouphead::nn {
namespace {

constexpr std::string_view kMaskedRows[] = {"keras", "zeros", "uniform"};
constexpr std::string_view kRamps[] = {"rotations", "index", "wavelength"};
constexpr std::string_view kLayouts[] = {"half", "interleaved"};

// The position of `name` in `names`. Errors: ConfigError that lists them.
template <std::size_t N>
int index_of(std::string_view layer, std::string_view option, const std::string_view (&names)[N],
             std::string_view name) {
  std::string known;
  for (std::size_t i = 0; i < N; ++i) {
    if (names[i] == name) return static_cast<int>(i);
    known.append(i > 0 ? ", " : "").append(names[i]);
  }
  core::throw_config_error(layer, option, "one of " + known, name);
}

ConfigValue yarn_config(const YarnConfig& yarn) {
  ConfigValue out;
  out.set("scale", yarn.scale);
  out.set("original_max_position", yarn.original_max_position);
  out.set("ramp", kRamps[static_cast<std::size_t>(yarn.ramp)]);
  out.set("beta_slow", yarn.beta_slow);
  out.set("beta_fast", yarn.beta_fast);
  out.set("mscale", yarn.mscale ? ConfigValue(*yarn.mscale) : ConfigValue());
  if (!yarn.truncate) out.set("truncate", false);
  return out;
}

YarnConfig yarn_from_config(const ConfigValue& config) {
  nn::ConfigReader reader("yarn", config);
  YarnConfig yarn;
  yarn.scale = reader.number("scale", yarn.scale);
  yarn.original_max_position = reader.integer("original_max_position", yarn.original_max_position);
  yarn.ramp =
      static_cast<YarnRamp>(index_of("yarn", "ramp", kRamps, reader.string("ramp", "rotations")));
  yarn.beta_slow = reader.number("beta_slow", yarn.beta_slow);
  yarn.beta_fast = reader.number("beta_fast", yarn.beta_fast);
  if (!reader.value("mscale").is_null()) yarn.mscale = reader.number("mscale", 0);
  yarn.truncate = reader.boolean("truncate", true);
  reader.finish();
  return yarn;
}

ConfigValue llama3_config(const Llama3RopeConfig& rule) {
  ConfigValue out;
  out.set("factor", rule.factor);
  out.set("low_freq_factor", rule.low_freq_factor);
  out.set("high_freq_factor", rule.high_freq_factor);
  out.set("original_max_position", rule.original_max_position);
  return out;
}

Llama3RopeConfig llama3_from_config(const ConfigValue& config) {
  nn::ConfigReader reader("llama3", config);
  Llama3RopeConfig rule;
  rule.factor = reader.number("factor", rule.factor);
  rule.low_freq_factor = reader.number("low_freq_factor", rule.low_freq_factor);
  rule.high_freq_factor = reader.number("high_freq_factor", rule.high_freq_factor);
  rule.original_max_position = reader.integer("original_max_position", rule.original_max_position);
  reader.finish();
  return rule;
}

ConfigValue dynamic_config(const DynamicRopeConfig& rule) {
  ConfigValue out;
  out.set("factor", rule.factor);
  out.set("max_position", rule.max_position);
  return out;
}

DynamicRopeConfig dynamic_from_config(const ConfigValue& config) {
  nn::ConfigReader reader("dynamic", config);
  DynamicRopeConfig rule;
  rule.factor = reader.number("factor", rule.factor);
  rule.max_position = reader.integer("max_position", rule.max_position);
  reader.finish();
  return rule;
}

ConfigValue::List numbers_config(const std::vector<double>& numbers) {
  return {numbers.begin(), numbers.end()};
}

std::vector<double> numbers_from_config(const ConfigValue& config) {
  std::vector<double> numbers;
  for (const ConfigValue& number : config.as_list("factors")) {
    numbers.push_back(number.as_number("factors"));
  }
  return numbers;
}

ConfigValue longrope_config(const LongRopeConfig& rule) {
  ConfigValue out;
  out.set("short_factors", numbers_config(rule.short_factors));
  out.set("long_factors", numbers_config(rule.long_factors));
  out.set("original_max_position", rule.original_max_position);
  out.set("magnitude", rule.magnitude);
  return out;
}

LongRopeConfig longrope_from_config(const ConfigValue& config) {
  nn::ConfigReader reader("longrope", config);
  LongRopeConfig rule;
  rule.short_factors = numbers_from_config(reader.value("short_factors"));
  rule.long_factors = numbers_from_config(reader.value("long_factors"));
  rule.original_max_position = reader.integer("original_max_position", rule.original_max_position);
  rule.magnitude = reader.number("magnitude", rule.magnitude);
  reader.finish();
  return rule;
}

}  // namespace

void check_logit_options(std::string_view layer, std::optional<double> softcap,
                         std::span<const double> alibi_slopes, bool sinks, MaskedRows masked_rows,
                         Index num_heads) {
  if (softcap && !(*softcap > 0 && std::isfinite(*softcap))) {
    core::throw_config_error(layer, "softcap", "a positive number", core::number_text(*softcap));
  }
  const auto count = static_cast<Index>(alibi_slopes.size());
  if (count != 0 && count != num_heads) {
    core::throw_config_error(layer, "alibi_slopes",
                             std::to_string(num_heads) + ", one for each head",
                             std::to_string(count));
  }
  if (sinks && masked_rows == MaskedRows::uniform) {
    core::throw_config_error(layer, "masked_rows", "zeros, as there are sinks", "uniform");
  }
}

std::string_view name_of(MaskedRows rows) noexcept {
  return kMaskedRows[static_cast<std::size_t>(rows)];
}

MaskedRows masked_rows_from_name(std::string_view layer, std::string_view name) {
  return static_cast<MaskedRows>(index_of(layer, "masked_rows", kMaskedRows, name));
}

ConfigValue rope_config(const std::optional<RopeConfig>& rope) {
  if (!rope) return {};
  ConfigValue out;
  out.set("base", rope->base);
  out.set("layout", kLayouts[static_cast<std::size_t>(rope->layout)]);
  out.set("yarn", rope->yarn ? yarn_config(*rope->yarn) : ConfigValue());
  if (rope->rotary_dims) out.set("rotary_dims", *rope->rotary_dims);
  if (rope->position_scale != 1) out.set("position_scale", rope->position_scale);
  if (rope->llama3) out.set("llama3", llama3_config(*rope->llama3));
  if (rope->dynamic) out.set("dynamic", dynamic_config(*rope->dynamic));
  if (rope->longrope) out.set("longrope", longrope_config(*rope->longrope));
  return out;
}

std::optional<RopeConfig> rope_from_config(const ConfigValue& config) {
  if (config.is_null()) return {};
  nn::ConfigReader reader("rope", config);
  RopeConfig rope;
  rope.base = reader.number("base", rope.base);
  rope.layout = static_cast<RopeLayout>(
      index_of("rope", "layout", kLayouts, reader.string("layout", "half")));
  const auto given = [&reader](std::string_view key) { return !reader.value(key).is_null(); };
  if (given("yarn")) rope.yarn = yarn_from_config(reader.value("yarn"));
  if (given("rotary_dims")) rope.rotary_dims = reader.integer("rotary_dims", 0);
  rope.position_scale = reader.number("position_scale", rope.position_scale);
  if (given("llama3")) rope.llama3 = llama3_from_config(reader.value("llama3"));
  if (given("dynamic")) rope.dynamic = dynamic_from_config(reader.value("dynamic"));
  if (given("longrope")) rope.longrope = longrope_from_config(reader.value("longrope"));
  reader.finish();
  return rope;
}

}  // namespace grouphead::nn
