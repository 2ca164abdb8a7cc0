// The expressions that split texts in most byte-level tokenizers, by hand: several times as fast as
// a general engine. tests/text_matcher_test.cc compares them with ICU.

#include <algorithm>

#include "text/characters.h"
#include "text/matcher.h"

namespace grouphead::text {
namespace {

constexpr std::string_view kLlama3 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

enum class Kind { end, letter, number, space, other };

/// The characters of a text from left to right.
class Reader {
 public:
  explicit Reader(std::string_view text) : text_(text) {}

  Kind kind(std::size_t at) const noexcept {
    if (at >= text_.size()) return Kind::end;
    const char32_t c = next_character(text_, at);
    if (is_letter(c)) return Kind::letter;
    if (is_number(c)) return Kind::number;
    return is_space(c) ? Kind::space : Kind::other;
  }
  std::size_t after(std::size_t at) const noexcept { return at + character_size(text_[at]); }
  /// The end of the run of one kind, of at most so many characters.
  std::size_t run(std::size_t at, Kind kind_of_run, std::size_t most = kAll) const noexcept {
    for (; most > 0 && kind(at) == kind_of_run; --most) at = after(at);
    return at;
  }
  std::size_t line_ends(std::size_t at) const noexcept {
    while (at < text_.size() && is_line_end(at)) ++at;
    return at;
  }
  bool is_line_end(std::size_t at) const noexcept { return text_[at] == '\r' || text_[at] == '\n'; }

  /// \s+(?!\S)|\s+: a run of space, but for its last character where a word follows.
  std::size_t space(std::size_t at) const noexcept {
    const std::size_t end = run(at, Kind::space);
    if (end == text_.size()) return end;
    const std::size_t last = previous_start(text_, end);
    return last > at ? last : end;
  }

  std::string_view rest(std::size_t at) const noexcept { return text_.substr(at); }

 private:
  static constexpr std::size_t kAll = ~std::size_t{0};

  std::string_view text_;
};

/// The end of 's, 't, 're, 've, 'm, 'll or 'd at an apostrophe, else `at`.
std::size_t contraction(const Reader& reader, std::size_t at, bool any_case) {
  constexpr std::string_view kLongS = "\xC5\xBF";  // U+017F, which is an s in another case
  constexpr std::string_view kEnds[] = {"s", "t", "re", "ve", "m", "ll", "d"};
  const std::string_view rest = reader.rest(at + 1);
  const auto same = [&](char a, char b) {
    return a == b || (any_case && a >= 'A' && a <= 'Z' && a - 'A' + 'a' == b);
  };
  for (const std::string_view end : kEnds) {
    if (rest.size() >= end.size() && std::equal(end.begin(), end.end(), rest.begin(),
                                                [&](char b, char a) { return same(a, b); })) {
      return at + 1 + end.size();
    }
  }
  return any_case && rest.starts_with(kLongS) ? at + 1 + kLongS.size() : at;
}

class Gpt2 final : public Matcher {
 public:
  void find(std::string_view text, std::vector<Span>& found) const override {
    const Reader reader(text);
    for (std::size_t at = 0; at < text.size(); at = found.back().end) {
      found.push_back({at, end_of(reader, text, at)});
    }
  }

 private:
  static std::size_t end_of(const Reader& reader, std::string_view text, std::size_t at) {
    if (text[at] == '\'') {
      const std::size_t end = contraction(reader, at, false);
      if (end > at) return end;
    }
    const std::size_t word = text[at] == ' ' ? at + 1 : at;
    const Kind kind = reader.kind(word);
    if (kind != Kind::space && kind != Kind::end) return reader.run(word, kind);
    return reader.space(at);
  }
};

/// Llama 3 and Qwen differ in how many digits stand together.
class Llama3 final : public Matcher {
 public:
  explicit Llama3(std::size_t most_digits) : most_digits_(most_digits) {}

  void find(std::string_view text, std::vector<Span>& found) const override {
    const Reader reader(text);
    for (std::size_t at = 0; at < text.size(); at = found.back().end) {
      found.push_back({at, end_of(reader, text, at)});
    }
  }

 private:
  std::size_t end_of(const Reader& reader, std::string_view text, std::size_t at) const {
    if (text[at] == '\'') {
      const std::size_t end = contraction(reader, at, true);
      if (end > at) return end;
    }
    const Kind kind = reader.kind(at);
    if (kind == Kind::letter) return reader.run(at, Kind::letter);
    if (kind == Kind::number) return reader.run(at, Kind::number, most_digits_);
    const std::size_t after = reader.after(at);
    if (!reader.is_line_end(at) && reader.kind(after) == Kind::letter) {
      return reader.run(after, Kind::letter);
    }
    const std::size_t mark = text[at] == ' ' ? after : at;
    if (reader.kind(mark) == Kind::other) return reader.line_ends(reader.run(mark, Kind::other));
    const std::size_t end = reader.run(at, Kind::space);
    for (std::size_t i = end; i > at; --i) {
      if (reader.is_line_end(i - 1)) return i;
    }
    return reader.space(at);
  }

  std::size_t most_digits_;
};

}  // namespace

std::unique_ptr<Matcher> known_matcher(std::string_view expression) {
  if (expression == kGpt2Expression) return std::make_unique<Gpt2>();
  if (expression == kLlama3) return std::make_unique<Llama3>(3);
  if (expression == kQwen) return std::make_unique<Llama3>(1);
  return nullptr;
}

}  // namespace grouphead::text
