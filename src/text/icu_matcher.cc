// Regular expressions by ICU.

#include <unicode/uregex.h>

#include <algorithm>
#include <mutex>

#include "text/characters.h"
#include "text/matcher.h"
#include "text/problem.h"

namespace grouphead::text {
namespace {

// Where Oniguruma means something else than ICU, in ICU's words.
struct Class {
  std::string_view spelling;
  std::string_view alone;
  std::string_view in_set;  // between brackets
};
// \w has no joiners. Alone it also has the six numbers of Latin-1 that are no digits, by a slip
// that texts are cut by. \h is a hexadecimal digit, and punctuation has the symbols.
constexpr Class kClasses[] = {
    {"\\w", "[\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\u00B2\\u00B3\\u00B9\\u00BC-\\u00BE]",
     "[\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}]"},
    {"\\W", "[^\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\u00B2\\u00B3\\u00B9\\u00BC-\\u00BE]",
     "[^\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}]"},
    {"\\h", "[0-9a-fA-F]", "[0-9a-fA-F]"},
    {"\\H", "[^0-9a-fA-F]", "[^0-9a-fA-F]"},
    {"\\p{^", "\\P{", "\\P{"},
    {"[:punct:]", "[:punct:]", "[\\p{P}\\p{S}]"}};

std::string in_icus_words(std::string_view expression) {
  std::string out;
  int depth = 0;  // of brackets
  for (std::size_t i = 0; i < expression.size();) {
    const std::string_view rest = expression.substr(i);
    const auto* known =
        std::find_if(std::begin(kClasses), std::end(kClasses),
                     [&](const Class& each) { return rest.starts_with(each.spelling); });
    if (known != std::end(kClasses)) {
      out += depth > 0 ? known->in_set : known->alone;
      i += known->spelling.size();
      continue;
    }
    if (rest[0] == '[') ++depth;
    if (rest[0] == ']') --depth;
    const std::size_t size = rest[0] == '\\' && rest.size() > 1 ? 2 : 1;
    out += rest.substr(0, size);
    i += size;
  }
  return out;
}

/// UTF-16 of a text, and the byte where each of its units begins.
struct WideText {
  std::vector<UChar> units{};
  std::vector<std::size_t> bytes{};

  void set(std::string_view text) {
    units.clear();
    bytes.clear();
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t begin = at;
      const char32_t c = next_character(text, at);
      if (c < 0x10000) {
        units.push_back(static_cast<UChar>(c));
      } else {
        units.push_back(static_cast<UChar>(0xD7C0 + (c >> 10)));
        bytes.push_back(begin);
        units.push_back(static_cast<UChar>(0xDC00 | (c & 0x3FF)));
      }
      bytes.push_back(begin);
    }
    bytes.push_back(text.size());
  }
};

struct Close {
  void operator()(URegularExpression* expression) const noexcept { uregex_close(expression); }
};
using Expression = std::unique_ptr<URegularExpression, Close>;

/// An expression searches one text at a time, so each search borrows a copy of it.
class Regex final : public Matcher {
 public:
  explicit Regex(const std::string& expression) : expression_(expression) {
    constexpr std::size_t kLongest = 1 << 16;
    if (expression.size() > kLongest) {
      refuse("regular expression", "at most 65536 bytes", std::to_string(expression.size()));
    }
    WideText wide;
    wide.set(in_icus_words(expression));
    UErrorCode error = U_ZERO_ERROR;
    // A line ends at \n alone, and ^ and $ see every line, as in Ruby's syntax.
    compiled_.reset(uregex_open(wide.units.data(), static_cast<std::int32_t>(wide.units.size()),
                                UREGEX_MULTILINE | UREGEX_UNIX_LINES, nullptr, &error));
    check(error);
    constexpr std::int32_t kStackBytes = 8 << 20;
    uregex_setStackLimit(compiled_.get(), kStackBytes, &error);
    check(error);
  }

  void find(std::string_view text, std::vector<Span>& found) const override {
    if (text.empty()) return;
    constexpr std::size_t kLongest = std::size_t{1} << 30;
    if (text.size() > kLongest) refuse("text", "at most 2^30 bytes", std::to_string(text.size()));
    std::unique_ptr<Search> search = borrowed();
    search->text.set(text);
    const WideText& wide = search->text;
    URegularExpression* expression = search->expression.get();
    UErrorCode error = U_ZERO_ERROR;
    search->ticks = kTicks + text.size() / kBytesForTick;
    uregex_setMatchCallback(expression, count_tick, &search->ticks, &error);
    uregex_setText(expression, wide.units.data(), static_cast<std::int32_t>(wide.units.size()),
                   &error);
    std::int32_t last_end = -1;
    while (uregex_findNext(expression, &error) != 0) {
      const std::int32_t begin = uregex_start(expression, 0, &error);
      const std::int32_t end = uregex_end(expression, 0, &error);
      if (begin < end || end != last_end) {
        found.push_back({wide.bytes[static_cast<std::size_t>(begin)],
                         wide.bytes[static_cast<std::size_t>(end)]});
      }
      last_end = end;
    }
    check(error);
    const std::lock_guard lock(mutex_);
    idle_.push_back(std::move(search));
  }

 private:
  struct Search {
    Expression expression{};
    WideText text{};
    std::size_t ticks = 0;  // that are left
  };
  // ICU calls back each ten thousand times that it keeps a place to return to. Its own time limit
  // begins again at each character.
  static constexpr std::size_t kTicks = 1000;
  static constexpr std::size_t kBytesForTick = 64;

  static UBool count_tick(const void* ticks, std::int32_t /*steps*/) {
    auto& left = *static_cast<std::size_t*>(const_cast<void*>(ticks));
    if (left == 0) return 0;
    --left;
    return 1;
  }

  std::unique_ptr<Search> borrowed() const {
    const std::lock_guard lock(mutex_);
    if (!idle_.empty()) {
      std::unique_ptr<Search> search = std::move(idle_.back());
      idle_.pop_back();
      return search;
    }
    UErrorCode error = U_ZERO_ERROR;
    auto search = std::make_unique<Search>();
    search->expression.reset(uregex_clone(compiled_.get(), &error));
    check(error);
    return search;
  }

  void check(UErrorCode error) const {
    if (U_FAILURE(error)) {
      refuse("regular expression " + expression_, "one that ICU runs within its limits",
             u_errorName(error));
    }
  }

  std::string expression_;
  Expression compiled_;
  mutable std::mutex mutex_;
  mutable std::vector<std::unique_ptr<Search>> idle_;
};

}  // namespace

std::unique_ptr<Matcher> icu_matcher(const std::string& expression) {
  return std::make_unique<Regex>(expression);
}

}  // namespace grouphead::text
