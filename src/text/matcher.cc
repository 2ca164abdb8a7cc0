#include "text/matcher.h"

#include "text/characters.h"
#include "text/problem.h"

namespace grouphead::text {
namespace {

class Literal final : public Matcher {
 public:
  explicit Literal(std::string text) : text_(std::move(text)) {}

  void find(std::string_view text, std::vector<Span>& found) const override {
    if (text_.empty()) {
      for (std::size_t at = 0; at < text.size(); at += character_size(text[at])) {
        found.push_back({at, at});
      }
      found.push_back({text.size(), text.size()});
      return;
    }
    for (std::size_t at = text.find(text_); at != std::string_view::npos;
         at = text.find(text_, at + text_.size())) {
      found.push_back({at, at + text_.size()});
    }
  }

 private:
  std::string text_;
};

class Characters final : public Matcher {
 public:
  explicit Characters(bool (*holds)(char32_t)) : holds_(holds) {}

  void find(std::string_view text, std::vector<Span>& found) const override {
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t begin = at;
      if (holds_(next_character(text, at))) found.push_back({begin, at});
    }
  }

 private:
  bool (*holds_)(char32_t);
};

class Words final : public Matcher {
 public:
  void find(std::string_view text, std::vector<Span>& found) const override {
    enum class Kind { none, space, word, other };
    Kind before = Kind::none;
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t begin = at;
      const char32_t c = next_character(text, at);
      const Kind kind = is_word(c) ? Kind::word : is_space(c) ? Kind::space : Kind::other;
      if (kind == before && kind != Kind::space) {
        found.back().end = at;
      } else if (kind != Kind::space) {
        found.push_back({begin, at});
      }
      before = kind;
    }
  }
};

}  // namespace

std::unique_ptr<Matcher> literal_matcher(std::string text) {
  return std::make_unique<Literal>(std::move(text));
}

std::unique_ptr<Matcher> character_matcher(bool (*holds)(char32_t)) {
  return std::make_unique<Characters>(holds);
}

std::unique_ptr<Matcher> word_matcher() { return std::make_unique<Words>(); }

std::unique_ptr<Matcher> regex_matcher(const std::string& expression) {
  std::unique_ptr<Matcher> known = known_matcher(expression);
  return known != nullptr ? std::move(known) : icu_matcher(expression);
}

std::unique_ptr<Matcher> matcher_from(const ConfigValue& pattern) {
  if (pattern.is_string()) return literal_matcher(pattern.as_string("pattern"));
  if (pattern.contains("String")) return literal_matcher(pattern["String"].as_string("String"));
  if (pattern.contains("Regex")) return regex_matcher(pattern["Regex"].as_string("Regex"));
  refuse("pattern", "a String or a Regex", pattern.to_string());
}

}  // namespace grouphead::text
