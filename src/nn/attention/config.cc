#include "nn/attention/config.h"

#include <cmath>

#include "core/number_text.h"

namespace grouphead::detail {
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
  throw_config_error(layer, option, "one of " + known, name);
}

ConfigValue yarn_config(const YarnConfig& yarn) {
  ConfigValue out;
  out.set("scale", yarn.scale);
  out.set("original_max_position", yarn.original_max_position);
  out.set("ramp", kRamps[static_cast<std::size_t>(yarn.ramp)]);
  out.set("beta_slow", yarn.beta_slow);
  out.set("beta_fast", yarn.beta_fast);
  out.set("mscale", yarn.mscale ? ConfigValue(*yarn.mscale) : ConfigValue());
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
  reader.finish();
  return yarn;
}

}  // namespace

void check_logit_options(std::string_view layer, std::optional<double> softcap,
                         std::span<const double> alibi_slopes, bool sinks, MaskedRows masked_rows,
                         Index num_heads) {
  if (softcap && !(*softcap > 0 && std::isfinite(*softcap))) {
    throw_config_error(layer, "softcap", "a positive number", number_text(*softcap));
  }
  const auto count = static_cast<Index>(alibi_slopes.size());
  if (count != 0 && count != num_heads) {
    throw_config_error(layer, "alibi_slopes", std::to_string(num_heads) + ", one for each head",
                       std::to_string(count));
  }
  if (sinks && masked_rows == MaskedRows::uniform) {
    throw_config_error(layer, "masked_rows", "zeros, as there are sinks", "uniform");
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
  return out;
}

std::optional<RopeConfig> rope_from_config(const ConfigValue& config) {
  if (config.is_null()) return {};
  nn::ConfigReader reader("rope", config);
  RopeConfig rope;
  rope.base = reader.number("base", rope.base);
  rope.layout = static_cast<RopeLayout>(
      index_of("rope", "layout", kLayouts, reader.string("layout", "half")));
  if (!reader.value("yarn").is_null()) rope.yarn = yarn_from_config(reader.value("yarn"));
  reader.finish();
  return rope;
}

}  // namespace grouphead::detail
