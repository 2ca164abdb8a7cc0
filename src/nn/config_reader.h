#pragma once

#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "grouphead/core/dtype_policy.h"
#include "grouphead/layers/activation.h"
#include "grouphead/layers/choice.h"

namespace grouphead::nn {

/// Takes a layer's options out of a Keras configuration and knows which keys nobody asked for.
class ConfigReader {
 public:
  ConfigReader(std::string_view class_name, const ConfigValue& config);

  /// What stands under `key`; null when absent.
  const ConfigValue& value(std::string_view key);
  // The same with a type, or `fallback` when the key is absent or null. Errors: ConfigError.
  bool boolean(std::string_view key, bool fallback);
  Index integer(std::string_view key, Index fallback);
  double number(std::string_view key, double fallback);
  std::string string(std::string_view key, std::string_view fallback);
  template <class Rule>
  Choice<Rule> choice(std::string_view key, Choice<Rule> fallback) {
    return has(key) ? Choice<Rule>(value(key)) : fallback;
  }
  /// `name`, or `fallback`; `trainable`; `dtype`, a name or DTypePolicy's envelope.
  std::string name(std::string_view fallback) { return string("name", fallback); }
  bool trainable() { return boolean("trainable", true); }
  DtypePolicy dtype();
  /// `seed`: an integer that a SeedGenerator takes, or null. seed_config() writes it.
  std::optional<std::uint64_t> seed();
  /// `activation`, as Activation::from_config() takes it; linear when absent.
  Activation activation();

  bool has(std::string_view key) const noexcept { return config_.contains(key); }
  /// Errors: ConfigError for the first key that was not asked for.
  void finish() const;

 private:
  std::string class_name_;
  const ConfigValue& config_;
  std::set<std::string, std::less<>> asked_;
};

/// A seed as an integer of a configuration, which has a sign; null where there is none.
inline ConfigValue seed_config(const std::optional<std::uint64_t>& seed) {
  return seed ? ConfigValue(static_cast<Index>(*seed)) : ConfigValue();
}

}  // namespace grouphead::nn
