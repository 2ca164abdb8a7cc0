#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "grouphead/core/config_value.h"

namespace grouphead::text {

/// Bytes [begin, end) of a text.
struct Span {
  std::size_t begin = 0;
  std::size_t end = 0;
};

/// What a text is searched for. Threads: find() may be called from several.
class Matcher {
 public:
  virtual ~Matcher() = default;
  /// Appends where it is found in valid UTF-8, from left to right, without overlaps. An empty match
  /// never follows the end of another one.
  virtual void find(std::string_view text, std::vector<Span>& found) const = 0;
};

/// A text as it is.
std::unique_ptr<Matcher> literal_matcher(std::string text);
/// Each character of which `holds` is true.
std::unique_ptr<Matcher> character_matcher(bool (*holds)(char32_t));
/// Runs of word characters, and runs of what is neither that nor space: \w+|[^\w\s]+.
std::unique_ptr<Matcher> word_matcher();
/// A regular expression with the meaning it has in Oniguruma; the expressions of GPT-2, Llama 3 and
/// Qwen by hand. Errors: IoError for what is no expression; of find(), for one that takes too long.
std::unique_ptr<Matcher> regex_matcher(const std::string& expression);
/// {"String": text} or {"Regex": expression}.
std::unique_ptr<Matcher> matcher_from(const ConfigValue& pattern);

/// The same by ICU, whatever the expression is.
std::unique_ptr<Matcher> icu_matcher(const std::string& expression);
/// By hand, null for an expression that is not one of them.
std::unique_ptr<Matcher> known_matcher(std::string_view expression);

/// GPT-2's expression, which the pre-tokenizer ByteLevel uses.
inline constexpr std::string_view kGpt2Expression =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

}  // namespace grouphead::text
