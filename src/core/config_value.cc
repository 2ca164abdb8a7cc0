#include "grouphead/core/config_value.h"

#include "core/check.h"
#include "core/number_text.h"

namespace grouphead {
namespace {

template <class T, class V>
const T& held(const V& value, const ConfigValue& whole, std::string_view what,
              std::string_view expected) {
  const T* held = std::get_if<T>(&value);
  if (held == nullptr) core::throw_config_error("config", what, expected, whole.to_string());
  return *held;
}

void append_quoted(const std::string& text, std::string& out) {
  out += '"';
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    if (static_cast<unsigned char>(c) < 0x20) {
      constexpr std::string_view kDigits = "0123456789abcdef";
      out.append("\\u00").append({kDigits[static_cast<unsigned char>(c) >> 4], kDigits[c & 15]});
    } else {
      out += c;
    }
  }
  out += '"';
}

}  // namespace

// Out of line: the variant is slow to compile, and in every user of a temporary GCC 12 takes it for
// uninitialised.
ConfigValue::ConfigValue() = default;
// Not by the variant: libstdc++ 12 takes one of strings and vectors for never empty, and destroys
// what it did not make where a copy runs out of memory.
ConfigValue::ConfigValue(const ConfigValue& other) {
  std::visit([this](auto value) { value_ = std::move(value); }, other.value_);
}
ConfigValue::ConfigValue(ConfigValue&& other) noexcept = default;
ConfigValue& ConfigValue::operator=(const ConfigValue& other) { return *this = ConfigValue(other); }
ConfigValue& ConfigValue::operator=(ConfigValue&& other) noexcept = default;
ConfigValue::~ConfigValue() = default;

ConfigValue::ConfigValue(bool value) : value_(value) {}
ConfigValue::ConfigValue(Index value) : value_(value) {}
ConfigValue::ConfigValue(double value) : value_(value) {}
ConfigValue::ConfigValue(const char* value) : value_(std::string(value)) {}
ConfigValue::ConfigValue(std::string_view value) : value_(std::string(value)) {}
ConfigValue::ConfigValue(std::string value) : value_(std::move(value)) {}
ConfigValue::ConfigValue(List value) : value_(std::move(value)) {}
ConfigValue::ConfigValue(Object value) : value_(std::move(value)) {}

bool operator==(const ConfigValue& a, const ConfigValue& b) { return a.value_ == b.value_; }

ConfigValue::ConfigValue(const Shape& shape) {
  List axes;
  for (const Index dim : shape) {
    ConfigValue& axis = axes.emplace_back();
    if (dim >= 0) axis.value_ = dim;
  }
  value_ = std::move(axes);
}

bool ConfigValue::as_bool(std::string_view what) const {
  return held<bool>(value_, *this, what, "true or false");
}
Index ConfigValue::as_integer(std::string_view what) const {
  return held<Index>(value_, *this, what, "an integer");
}
double ConfigValue::as_number(std::string_view what) const {
  if (is_integer()) return static_cast<double>(std::get<Index>(value_));
  return held<double>(value_, *this, what, "a number");
}
const std::string& ConfigValue::as_string(std::string_view what) const {
  return held<std::string>(value_, *this, what, "a string");
}
const ConfigValue::List& ConfigValue::as_list(std::string_view what) const {
  return held<List>(value_, *this, what, "a list");
}
const ConfigValue::Object& ConfigValue::as_object(std::string_view what) const {
  return held<Object>(value_, *this, what, "an object");
}

Shape ConfigValue::as_shape(std::string_view what) const {
  std::vector<Index> dims;
  for (const ConfigValue& axis : as_list(what)) {
    dims.push_back(axis.is_null() ? -1 : axis.as_integer(what));
  }
  return Shape::partial(dims);
}

const ConfigValue& ConfigValue::operator[](std::string_view key) const {
  static const ConfigValue null;
  if (const auto* object = std::get_if<Object>(&value_)) {
    for (const auto& [name, value] : *object) {
      if (name == key) return value;
    }
  }
  return null;
}

bool ConfigValue::contains(std::string_view key) const noexcept {
  if (const auto* object = std::get_if<Object>(&value_)) {
    for (const auto& entry : *object) {
      if (entry.first == key) return true;
    }
  }
  return false;
}

void ConfigValue::set(std::string_view key, ConfigValue value) {
  if (is_null()) value_ = Object{};
  auto* object = std::get_if<Object>(&value_);
  if (object == nullptr) core::throw_config_error("config", key, "an object", to_string());
  for (auto& [name, held] : *object) {
    if (name == key) {
      held = std::move(value);
      return;
    }
  }
  object->emplace_back(std::string(key), std::move(value));
}

std::string ConfigValue::to_string() const {
  if (is_null()) return "null";
  if (const auto* value = std::get_if<bool>(&value_)) return *value ? "true" : "false";
  if (const auto* value = std::get_if<Index>(&value_)) return std::to_string(*value);
  if (const auto* value = std::get_if<double>(&value_)) return core::number_text(*value);
  std::string out;
  if (const auto* value = std::get_if<std::string>(&value_)) {
    append_quoted(*value, out);
  } else if (const auto* list = std::get_if<List>(&value_)) {
    for (const ConfigValue& item : *list) {
      out.append(out.empty() ? "[" : ", ").append(item.to_string());
    }
    out += out.empty() ? "[]" : "]";
  } else {
    for (const auto& [key, item] : std::get<Object>(value_)) {
      out += out.empty() ? "{" : ", ";
      append_quoted(key, out);
      out.append(": ").append(item.to_string());
    }
    out += out.empty() ? "{}" : "}";
  }
  return out;
}

ConfigValue config_envelope(std::string_view module, std::string_view class_name,
                            ConfigValue config) {
  ConfigValue envelope;
  envelope.set("module", module);
  envelope.set("class_name", class_name);
  envelope.set("config", std::move(config));
  envelope.set("registered_name", nullptr);
  return envelope;
}

}  // namespace grouphead
