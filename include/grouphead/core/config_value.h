#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "grouphead/core/error.h"
#include "grouphead/core/tensor.h"

#pragma GCC visibility push(default)
namespace grouphead {

/// A value as Keras's configurations hold them: null, bool, integer, float, string, list, or an
/// object whose entries keep their order. What JSON can say, without a JSON library in the API.
class ConfigValue {
 public:
  using List = std::vector<ConfigValue>;
  using Entry = std::pair<std::string, ConfigValue>;
  using Object = std::vector<Entry>;

  ConfigValue();  ///< null
  ConfigValue(const ConfigValue& other);
  ConfigValue(ConfigValue&& other) noexcept;
  ConfigValue& operator=(const ConfigValue& other);
  ConfigValue& operator=(ConfigValue&& other) noexcept;
  ~ConfigValue();
  // NOLINTBEGIN(google-explicit-constructor)
  ConfigValue(std::nullptr_t) : ConfigValue() {}
  ConfigValue(bool value);
  ConfigValue(int value) : ConfigValue(Index{value}) {}
  ConfigValue(Index value);
  ConfigValue(double value);
  ConfigValue(const char* value);
  ConfigValue(std::string_view value);
  ConfigValue(std::string value);
  ConfigValue(List value);
  ConfigValue(Object value);
  // NOLINTEND(google-explicit-constructor)
  /// Axes as a list of integers, -1 as null.
  explicit ConfigValue(const Shape& shape);

  bool is_null() const noexcept { return std::holds_alternative<std::monostate>(value_); }
  bool is_bool() const noexcept { return std::holds_alternative<bool>(value_); }
  bool is_integer() const noexcept { return std::holds_alternative<Index>(value_); }
  bool is_number() const noexcept { return is_integer() || std::holds_alternative<double>(value_); }
  bool is_string() const noexcept { return std::holds_alternative<std::string>(value_); }
  bool is_list() const noexcept { return std::holds_alternative<List>(value_); }
  bool is_object() const noexcept { return std::holds_alternative<Object>(value_); }

  // What the value is. Errors: ConfigError that names `what`, the type expected and what came.
  bool as_bool(std::string_view what) const;
  Index as_integer(std::string_view what) const;
  double as_number(std::string_view what) const;  ///< integers too
  const std::string& as_string(std::string_view what) const;
  const List& as_list(std::string_view what) const;
  const Object& as_object(std::string_view what) const;
  /// A list of integers and nulls (-1).
  Shape as_shape(std::string_view what) const;

  /// The entry of an object; null when there is none.
  const ConfigValue& operator[](std::string_view key) const;
  bool contains(std::string_view key) const noexcept;
  /// Sets an entry; null becomes an object. Errors: ConfigError for other types.
  void set(std::string_view key, ConfigValue value);

  /// As JSON text, for messages.
  std::string to_string() const;
  friend bool operator==(const ConfigValue& a, const ConfigValue& b);

 private:
  std::variant<std::monostate, bool, Index, double, std::string, List, Object> value_;
};

/// Keras's envelope of an object: {"module", "class_name", "config", "registered_name": null}.
ConfigValue config_envelope(std::string_view module, std::string_view class_name,
                            ConfigValue config);

}  // namespace grouphead
#pragma GCC visibility pop
