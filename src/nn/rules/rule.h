#pragma once

// What initializers, regularizers and constraints share: Keras's identifiers and configurations.

#include <array>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "core/check.h"
#include "nn/config_reader.h"

namespace grouphead::nn {

/// What an identifier asks for: a name alone, or {"class_name", "config"}.
struct RuleRequest {
  std::string name;
  ConfigValue config;
};
/// Errors: ConfigError unless a string or an object with a class name.
RuleRequest requested_rule(std::string_view kind, const ConfigValue& identifier);

/// One class of rules: the names that Keras accepts for it, its exported one first, and how to make
/// it from a configuration.
template <class Rule>
struct RuleEntry {
  std::array<std::string_view, 4> names;
  std::shared_ptr<const Rule> (*make)(std::string_view class_name, const ConfigValue& config);
};

/// Errors: ConfigError for a name that no entry has.
template <class Rule>
std::shared_ptr<const Rule> make_rule(std::string_view kind, std::span<const RuleEntry<Rule>> table,
                                      const ConfigValue& identifier) {
  if (identifier.is_null()) return nullptr;
  const RuleRequest request = requested_rule(kind, identifier);
  for (const RuleEntry<Rule>& entry : table) {
    for (const std::string_view name : entry.names) {
      if (!name.empty() && name == request.name) return entry.make(entry.names[0], request.config);
    }
  }
  core::throw_config_error(kind, "identifier", "a name that Keras knows", request.name);
}

/// Reads a rule's options, and keeps them as they were written: Keras's get_config() gives an
/// integer back as one.
class RuleReader {
 public:
  RuleReader(std::string_view class_name, const ConfigValue& config)
      : class_name_(class_name), reader_(class_name, config), kept_(ConfigValue::Object{}) {}

  std::string_view class_name() const noexcept { return class_name_; }
  /// What stands under `key`, or `fallback` when there is no such key.
  const ConfigValue& value(std::string_view key, const ConfigValue& fallback) {
    const ConfigValue& written = reader_.value(key);
    kept_.set(key, reader_.has(key) ? written : fallback);
    return kept_[key];
  }
  double number(std::string_view key, double fallback) {
    return value(key, fallback).as_number(key);
  }
  /// Everything that was read, in order. Errors: ConfigError for a key that was not asked for.
  ConfigValue finish() {
    reader_.finish();
    return std::move(kept_);
  }

 private:
  std::string_view class_name_;
  ConfigReader reader_;
  ConfigValue kept_;
};

/// A rule's name and configuration.
template <class Rule>
class NamedRule : public Rule {
 public:
  std::string_view class_name() const override { return class_name_; }
  ConfigValue get_config() const override { return config_; }

 protected:
  /// `class_name` outlives the rule.
  explicit NamedRule(std::string_view class_name) : class_name_(class_name) {}
  ConfigValue config_ = ConfigValue::Object{};

 private:
  std::string_view class_name_;
};

}  // namespace grouphead::nn
