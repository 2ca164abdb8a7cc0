#include "saved/run_config.h"

#include <nlohmann/json.hpp>

namespace grouphead::saved {
namespace {

using Json = nlohmann::ordered_json;

// The one list of a configuration's fields. `Config` is TrainerConfig or const TrainerConfig.
template <class Config, class Visit>
void visit_fields(Config& config, Visit&& visit) {
  visit("hidden", config.hidden_size);
  visit("layers", config.num_layers);
  visit("heads", config.num_heads);
  visit("kv_heads", config.num_key_value_heads);
  visit("rope", config.rope);
  visit("yarn", config.yarn_scale);
  visit("dropout", config.dropout);
  visit("seq", config.sequence_length);
  visit("batch", config.batch_size);
  visit("steps", config.steps);
  visit("lr", config.learning_rate);
  visit("warmup", config.warmup_steps);
  visit("weight_decay", config.weight_decay);
  visit("clipnorm", config.clipnorm);
  visit("seed", config.seed);
  visit("dtype", config.dtype);
}

Json json_of(Dtype dtype) { return name_of(dtype); }
Json json_of(const std::optional<double>& value) { return value ? Json(*value) : Json(); }
template <class T>
Json json_of(T value) {
  return value;
}

// Each takes a JSON value of its own type alone and says whether it did.
bool read(const Json& json, Index& value) {
  if (!json.is_number_unsigned()) return false;
  constexpr std::uint64_t kLimit = std::uint64_t{1} << 40;
  const auto number = json.get<std::uint64_t>();
  value = static_cast<Index>(std::min(number, kLimit));
  return number < kLimit;
}
bool read(const Json& json, std::uint64_t& value) {
  if (!json.is_number_unsigned()) return false;
  value = json.get<std::uint64_t>();
  return true;
}
bool read(const Json& json, double& value) {
  if (!json.is_number()) return false;
  value = json.get<double>();
  return true;
}
bool read(const Json& json, std::optional<double>& value) {
  value.reset();
  return json.is_null() || read(json, value.emplace());
}
bool read(const Json& json, bool& value) {
  if (!json.is_boolean()) return false;
  value = json.get<bool>();
  return true;
}
bool read(const Json& json, Dtype& value) {
  for (const Dtype dtype : {Dtype::f32, Dtype::f64}) {
    if (json != name_of(dtype)) continue;
    value = dtype;
    return true;
  }
  return false;
}

Json object_of(const TrainerConfig& config) {
  Json object = Json::object();
  visit_fields(config, [&](const char* name, const auto& value) { object[name] = json_of(value); });
  return object;
}

}  // namespace

std::vector<Setting> settings_of(const TrainerConfig& config) {
  std::vector<Setting> settings;
  visit_fields(config, [&](const char* name, const auto& field) {
    const Json value = json_of(field);
    settings.push_back({name, value.is_null()     ? "none"
                              : value.is_string() ? value.get<std::string>()
                                                  : value.dump()});
  });
  return settings;
}

std::string to_json(const TrainerConfig& config) { return object_of(config).dump(2) + "\n"; }

TrainerConfig config_from_json(std::string_view text, const std::string& where) {
  const Json object = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!object.is_object()) throw IoError(where + ": expected a JSON object");
  TrainerConfig config;
  visit_fields(config, [&](const char* name, auto& value) {
    const auto found = object.find(name);
    if (found == object.end()) throw IoError(where + ": " + name + ": missing");
    if (!read(*found, value)) {
      throw IoError(where + ": " + name + ": cannot be " + found->dump(-1, ' ', true));
    }
  });
  return config;
}

}  // namespace grouphead::saved
