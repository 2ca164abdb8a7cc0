#pragma once

// Classes of users under the names that Keras registers them by: `package>Class`.

#include <map>
#include <mutex>
#include <string>
#include <typeindex>
#include <utility>

#include "core/check.h"
#include "grouphead/core/config_value.h"

namespace grouphead::nn {

inline constexpr std::string_view kOwnPackage = "grouphead";

/// Whether a name is `package>Class`, of another package than the library's.
inline bool is_own_name(std::string_view name) noexcept {
  const std::size_t cut = name.find('>');
  return cut != 0 && cut != std::string_view::npos && cut + 1 != name.size() &&
         name.substr(0, cut) != kOwnPackage;
}

/// Keras's envelope of a registered class.
inline ConfigValue own_envelope(const std::string& name, ConfigValue config) {
  const std::size_t cut = name.find('>');
  ConfigValue envelope =
      config_envelope(name.substr(0, cut), name.substr(cut + 1), std::move(config));
  envelope.set("registered_name", name);
  return envelope;
}

/// The name that an envelope registers its class by; empty for one of Keras's own.
inline std::string own_name_in(const ConfigValue& envelope) {
  const ConfigValue& held = envelope["registered_name"];
  return held.is_string() ? held.as_string("registered_name") : std::string();
}

/// What a function such as register_layer() was told. Threads: safe.
template <class Maker>
class OwnClasses {
 public:
  /// `operation` is for messages.
  explicit OwnClasses(std::string_view operation) : operation_(operation) {}

  /// Errors: ConfigError for a name of another form, or that another class has.
  void add(const std::string& name, std::type_index type, Maker make) {
    const std::lock_guard lock(mutex_);
    if (insert(name, type, std::move(make))) names_[type] = name;
  }
  /// A class that is no type of its own; its objects know their names. A later one of the same name
  /// takes its place.
  void add_untyped(const std::string& name, Maker make) {
    const std::lock_guard lock(mutex_);
    insert(name, typeid(void), make);
    makers_.find(name)->second.second = std::move(make);
  }
  /// Empty when there is none.
  Maker find(const std::string& name) const {
    const std::lock_guard lock(mutex_);
    const auto found = makers_.find(name);
    return found == makers_.end() ? nullptr : found->second.second;
  }
  /// Empty for a class that has none.
  std::string name_of(std::type_index type) const {
    const std::lock_guard lock(mutex_);
    const auto found = names_.find(type);
    return found == names_.end() ? "" : found->second;
  }

 private:
  bool insert(const std::string& name, std::type_index type, Maker make) {
    if (!is_own_name(name)) {
      core::throw_config_error(operation_, "name", "`package>Class`, of your own package", name);
    }
    const auto [found, is_new] = makers_.try_emplace(name, type, std::move(make));
    if (!is_new && found->second.first != type) {
      core::throw_config_error(operation_, "name", "one class for each name", name);
    }
    return is_new;
  }

  std::string_view operation_;
  mutable std::mutex mutex_;
  std::map<std::string, std::pair<std::type_index, Maker>> makers_;
  std::map<std::type_index, std::string> names_;
};

}  // namespace grouphead::nn
