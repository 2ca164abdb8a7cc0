#include "nn/lookup/lookup_config.h"

#include <array>

namespace grouphead::nn {
namespace {

constexpr std::array<std::string_view, 5> kModes = {"int", "one_hot", "multi_hot", "count",
                                                    "tf_idf"};

}  // namespace

LookupMode lookup_mode_from(std::string_view layer, const std::string& name) {
  // Two old names.
  if (name == "binary") return LookupMode::multi_hot;
  if (name == "tf-idf") return LookupMode::tf_idf;
  for (std::size_t i = 0; i < kModes.size(); ++i) {
    if (kModes[i] == name) return static_cast<LookupMode>(i);
  }
  core::throw_config_error(layer, "output_mode", "int, one_hot, multi_hot, count or tf_idf", name);
}

std::string_view name_of(LookupMode mode) noexcept {
  return kModes[static_cast<std::size_t>(mode)];
}

void refuse(ConfigReader& reader, std::string_view layer, const char* key) {
  const ConfigValue& value = reader.value(key);
  if (value.is_null() || value == ConfigValue(false)) return;
  core::throw_config_error(layer, key, "null or false", value.to_string());
}

std::optional<HashKey> read_salt(ConfigReader& reader, std::string_view layer) {
  const ConfigValue& value = reader.value("salt");
  if (value.is_null()) return {};
  if (!value.is_list()) return HashKey{value.as_integer("salt"), value.as_integer("salt")};
  const auto& list = value.as_list("salt");
  if (list.size() != 2) {
    core::throw_config_error(layer, "salt", "one integer or two", value.to_string());
  }
  return HashKey{list[0].as_integer("salt"), list[1].as_integer("salt")};
}

std::optional<Index> optional_integer(ConfigReader& reader, const char* key) {
  const ConfigValue& value = reader.value(key);
  if (value.is_null()) return {};
  return value.as_integer(key);
}

ConfigValue number_or_null(const std::optional<Index>& number) {
  return number ? ConfigValue(*number) : ConfigValue();
}

}  // namespace grouphead::nn
