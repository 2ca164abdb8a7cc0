#pragma once

#include <memory>
#include <utility>

#include "grouphead/core/config_value.h"

#pragma GCC visibility push(default)
namespace grouphead {

/// None, or a rule given by Keras's name ("glorot_uniform"), by its configuration, or as an object:
/// how initializers, regularizers and constraints are passed to layers. A cheap value.
/// Errors: ConfigError for names and configurations that Keras does not know either.
template <class Rule>
class Choice {
 public:
  Choice() = default;        ///< none
  Choice(std::nullptr_t) {}  // NOLINT(google-explicit-constructor)
  Choice(const char* name)
      : rule_(Rule::from_config(ConfigValue(name))) {}  // NOLINT(google-explicit-constructor)
  Choice(const ConfigValue& identifier)
      : rule_(Rule::from_config(identifier)) {}  // NOLINT(google-explicit-constructor)
  template <class R, std::enable_if_t<std::is_convertible_v<R*, const Rule*>, int> = 0>
  Choice(std::shared_ptr<R> rule)
      : rule_(std::move(rule)) {}  // NOLINT(google-explicit-constructor)

  explicit operator bool() const noexcept { return rule_ != nullptr; }
  const Rule& operator*() const noexcept { return *rule_; }
  const Rule* operator->() const noexcept { return rule_.get(); }
  /// Keras's envelope, or null.
  ConfigValue config() const {
    return rule_ ? config_envelope(Rule::kModule, rule_->class_name(), rule_->get_config())
                 : ConfigValue();
  }

 private:
  std::shared_ptr<const Rule> rule_;
};

}  // namespace grouphead
#pragma GCC visibility pop
