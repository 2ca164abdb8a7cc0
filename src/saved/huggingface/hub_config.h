#pragma once

#include <initializer_list>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "grouphead/core/config_value.h"

namespace grouphead::saved {

/// A Hugging Face config.json, which knows what nobody asked for: a setting that is not honoured is
/// refused by its name. Errors, everywhere: IoError `[load_pretrained] FILE: key: expected ...`.
class HubConfig {
 public:
  /// `where` is for messages. `config` outlives this.
  HubConfig(std::string where, const ConfigValue& config);

  const std::string& where() const noexcept { return where_; }
  /// Whether there is a value that is not null. Counts as asked.
  bool has(std::string_view key);
  /// Whether the key is there, if only with null.
  bool contains(std::string_view key) const noexcept { return config_.contains(key); }
  bool was_asked(std::string_view key) const noexcept { return asked_.contains(key); }
  const ConfigValue& value(std::string_view key);
  // The first of these keys that has a value, else the fallback. Empty keys are passed over.
  Index integer(std::initializer_list<std::string_view> keys, Index fallback);
  double number(std::initializer_list<std::string_view> keys, double fallback);
  bool boolean(std::string_view key, bool fallback);
  std::string text(std::initializer_list<std::string_view> keys, std::string_view fallback);
  std::optional<double> optional_number(std::string_view key);
  /// A size of a model: 1 to 2^30; of layers or heads at most 65536.
  Index size(std::initializer_list<std::string_view> keys, Index fallback);
  Index count(std::initializer_list<std::string_view> keys, Index fallback);

  /// What is there has to be this. `because` says what else would have to be known.
  void require(std::string_view key, const ConfigValue& only);
  /// A key that changes nothing here.
  void ignore(std::initializer_list<std::string_view> keys);
  /// Errors: IoError that lists the keys that nobody asked for, and that change something.
  void finish() const;

  [[noreturn]] void refuse(std::string_view key, std::string_view expected,
                           std::string_view got) const;
  [[noreturn]] void refuse(std::string_view key, std::string_view expected) {
    refuse(key, expected, value(key).to_string());
  }

 private:
  template <class T, class Read>
  T first(std::initializer_list<std::string_view> keys, T fallback, const Read& read);

  std::string where_;
  const ConfigValue& config_;
  std::set<std::string, std::less<>> asked_;
};

}  // namespace grouphead::saved
