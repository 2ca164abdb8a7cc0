#include "io/json.h"

#include <algorithm>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "core/number_text.h"
#include "grouphead/core/error.h"

namespace grouphead::io {
namespace {

using Json = nlohmann::json;

constexpr std::string_view kFloatMarks = ".eE";
constexpr std::string_view kBeforeValues = "[,: \t\r\n";

/// A text without Python's words for numbers that JSON does not have. Where one stood there is a
/// `0.0`; `values` says which of the text's floating numbers, counted from 0, it was.
struct PlainText {
  std::string text;
  std::map<std::size_t, double> values;
};

bool is_number_part(char c) {
  return (c >= '0' && c <= '9') || c == '-' || c == '+' || c == '.' || c == 'e' || c == 'E';
}

/// The index after the closing quote of the string that opens at `begin`.
std::size_t string_end(std::string_view text, std::size_t begin) {
  std::size_t i = begin + 1;
  while (i < text.size() && text[i] != '"') i += text[i] == '\\' ? 2 : 1;
  return std::min(i + 1, text.size());
}

PlainText without_words(std::string_view text) {
  struct Word {
    std::string_view spelling;
    double value;
  };
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  constexpr Word kWords[] = {{"NaN", std::numeric_limits<double>::quiet_NaN()},
                             {"Infinity", kInfinity},
                             {"-Infinity", -kInfinity}};
  PlainText plain;
  plain.text.reserve(text.size());
  std::size_t num_floats = 0;
  for (std::size_t i = 0; i < text.size();) {
    std::size_t end = i + 1;
    const std::string_view rest = text.substr(i);
    const bool begins = i == 0 || kBeforeValues.find(text[i - 1]) != std::string_view::npos;
    const Word* word = std::find_if(std::begin(kWords), std::end(kWords), [&](const Word& each) {
      return begins && rest.starts_with(each.spelling);
    });
    if (word != std::end(kWords)) {
      plain.values.emplace(num_floats++, word->value);
      plain.text += "0.0";
      i += word->spelling.size();
      continue;
    }
    if (text[i] == '"') {
      end = string_end(text, i);
    } else if (text[i] == '-' || (text[i] >= '0' && text[i] <= '9')) {
      while (end < text.size() && is_number_part(text[end])) ++end;
      const std::string_view number = text.substr(i, end - i);
      if (number.find_first_of(kFloatMarks) != std::string_view::npos) ++num_floats;
    }
    plain.text += text.substr(i, end - i);
    i = end;
  }
  return plain;
}

/// Builds the value from the parser's events; `problem` says why it stopped them.
class Builder final : public nlohmann::json_sax<Json> {
 public:
  Builder(const std::map<std::size_t, double>& special_values, const JsonLimits& limits)
      : special_values_(special_values), limits_(limits) {}

  ConfigValue result;
  std::string problem;

  bool null() override { return add(nullptr); }
  bool boolean(bool value) override { return add(value); }
  bool number_integer(number_integer_t value) override { return add(Index{value}); }
  bool number_unsigned(number_unsigned_t value) override {
    if (value > static_cast<number_unsigned_t>(std::numeric_limits<Index>::max())) {
      return refuse("an integer beyond 64 bits");
    }
    return add(static_cast<Index>(value));
  }
  bool number_float(number_float_t /*value*/, const string_t& spelling) override {
    // The parser hands over the decimal point of the locale, and reads the number by it.
    std::string text = spelling;
    constexpr std::string_view kOthers = "+-0123456789eE";
    std::replace_if(
        text.begin(), text.end(), [&](char c) { return kOthers.find(c) == std::string_view::npos; },
        '.');
    if (text.find_first_of(kFloatMarks) == std::string::npos) {
      return refuse("an integer beyond 64 bits");
    }
    const auto special = special_values_.find(num_floats_++);
    if (special != special_values_.end()) return add(special->second);
    const std::optional<double> value = core::number_from_text(text);
    if (!value) return refuse("the number '" + text + "'");
    return add(*value);
  }
  bool string(string_t& value) override { return add(std::move(value)); }
  bool binary(binary_t& /*value*/) override { return refuse("binary data"); }

  bool start_object(std::size_t /*size*/) override { return open(true); }
  bool key(string_t& name) override {
    open_.back().key = std::move(name);
    return true;
  }
  bool end_object() override {
    std::vector<std::string_view> names;
    for (const ConfigValue::Entry& entry : open_.back().entries) names.emplace_back(entry.first);
    std::sort(names.begin(), names.end());
    const auto twice = std::adjacent_find(names.begin(), names.end());
    if (twice != names.end()) return refuse("the key '" + std::string(*twice) + "' twice");
    ConfigValue object(std::move(open_.back().entries));
    open_.pop_back();
    return add(std::move(object));
  }
  bool start_array(std::size_t /*size*/) override { return open(false); }
  bool end_array() override {
    ConfigValue list(std::move(open_.back().items));
    open_.pop_back();
    return add(std::move(list));
  }

  bool parse_error(std::size_t position, const std::string& token,
                   const nlohmann::detail::exception& error) override {
    const std::string text = error.what();
    const std::size_t reason = text.find("; ");
    return refuse("something else at byte " + std::to_string(position) + " ('" + token + "'" +
                  (reason == std::string::npos ? ")" : text.substr(reason) + ")"));
  }

 private:
  /// A list or object that is not closed yet.
  struct Open {
    bool is_object = false;
    std::string key{};
    ConfigValue::Object entries{};
    ConfigValue::List items{};
  };

  bool refuse(std::string what) {
    problem = std::move(what);
    return false;
  }

  bool open(bool is_object) {
    if (static_cast<int>(open_.size()) == limits_.depth) {
      return refuse("more than " + std::to_string(limits_.depth) + " levels");
    }
    open_.push_back({.is_object = is_object});
    return true;
  }

  bool add(ConfigValue value) {
    if (++num_values_ > limits_.values) {
      return refuse("more than " + std::to_string(limits_.values) + " values");
    }
    if (open_.empty()) {
      result = std::move(value);
    } else if (open_.back().is_object) {
      open_.back().entries.emplace_back(std::move(open_.back().key), std::move(value));
    } else {
      open_.back().items.push_back(std::move(value));
    }
    return true;
  }

  const std::map<std::size_t, double>& special_values_;
  const JsonLimits& limits_;
  std::size_t num_floats_ = 0;
  std::size_t num_values_ = 0;
  std::vector<Open> open_;
};

[[noreturn]] void refuse(std::string_view what, std::string_view expected, std::string_view got) {
  std::string text = "[json] ";
  throw IoError(
      text.append(what).append(": expected ").append(expected).append(", got ").append(got));
}

/// Writes values the way Python's json module does.
class Writer {
 public:
  Writer(int indent, OtherBytes other) : indent_(indent), other_(other) {}

  std::string text;

  void write(const ConfigValue& value) {
    if (value.is_list()) {
      write_all(value.as_list("list"), '[', ']', [this](const ConfigValue& item) { write(item); });
    } else if (value.is_object()) {
      write_all(value.as_object("object"), '{', '}', [this](const ConfigValue::Entry& entry) {
        write_string(entry.first);
        text += ": ";
        write(entry.second);
      });
    } else if (value.is_string()) {
      write_string(value.as_string("string"));
    } else {
      text += value.to_string();
    }
  }

 private:
  template <class Items, class WriteItem>
  void write_all(const Items& items, char open, char close, const WriteItem& write_item) {
    text += open;
    ++depth_;
    bool is_first = true;
    for (const auto& item : items) {
      if (!is_first) text += indent_ < 0 ? ", " : ",";
      is_first = false;
      break_line();
      write_item(item);
    }
    --depth_;
    if (!is_first) break_line();
    text += close;
  }

  void break_line() {
    if (indent_ < 0) return;
    text += '\n';
    text.append(static_cast<std::size_t>(indent_ * depth_), ' ');
  }

  void write_string(const std::string& value) {
    constexpr bool kAscii = true;
    const auto handler = other_ == OtherBytes::replaced ? Json::error_handler_t::replace
                                                        : Json::error_handler_t::strict;
    try {
      text += Json(value).dump(-1, ' ', kAscii, handler);
    } catch (const Json::exception&) {
      refuse("string", "UTF-8", "other bytes");
    }
  }

  int indent_;
  OtherBytes other_;
  int depth_ = 0;
};

}  // namespace

ConfigValue parse_json(std::string_view text, std::string_view what, const JsonLimits& limits) {
  if (text.size() > limits.bytes) {
    refuse(what, "at most " + std::to_string(limits.bytes) + " bytes", std::to_string(text.size()));
  }
  const PlainText plain = without_words(text);
  Builder builder(plain.values, limits);
  if (!Json::sax_parse(plain.text, &builder)) refuse(what, "JSON", builder.problem);
  return std::move(builder.result);
}

std::string json_text(const ConfigValue& value, int indent, OtherBytes other) {
  Writer writer(indent, other);
  writer.write(value);
  return std::move(writer.text);
}

}  // namespace grouphead::io
