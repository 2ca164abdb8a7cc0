// The expressions that are matched by hand, against ICU.

#include <gtest/gtest.h>

#include "text/characters.h"
#include "text/matcher.h"

namespace grouphead::text {
namespace {

constexpr const char* kExpressions[] = {
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)",
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"};

std::string spelled(const std::vector<Span>& spans, const std::string& text) {
  std::string out;
  for (const Span& span : spans) out += "<" + text.substr(span.begin, span.end - span.begin) + ">";
  return out;
}

/// A text of pieces that the expressions tell apart.
std::string random_text(std::uint64_t& state) {
  constexpr const char* kPieces[] = {
      "a",      "Z",       "word",   "'s",     "'S",     "'ll",    "'VE",        "'re",    "'d",
      "'",      "'\u017F", " ",      "  ",     "\t",     "\n",     "\r\n",       "\u00A0", "\u3000",
      "\u2028", "\x0B",    "1",      "234",    "\u0663", "\u00BD", "\u2167",     ".",      "!?",
      "-",      "_",       "\u00E9", "\u0301", "\u65E5", "\u200D", "\U0001F44D", "\u20AC", "\x01"};
  std::string text;
  const auto next = [&] {
    state = state * 6364136223846793005U + 1442695040888963407U;
    return static_cast<std::size_t>(state >> 33);
  };
  for (std::size_t i = next() % 24; i > 0; --i) text += kPieces[next() % std::size(kPieces)];
  return text;
}

TEST(Matcher, ByHandIsWhatIcuFinds) {
  std::uint64_t state = 1;
  for (const char* expression : kExpressions) {
    const std::unique_ptr<Matcher> by_hand = known_matcher(expression);
    ASSERT_NE(by_hand, nullptr) << expression;
    const std::unique_ptr<Matcher> icu = icu_matcher(expression);
    for (int i = 0; i < 5000; ++i) {
      const std::string text = random_text(state);
      std::vector<Span> got;
      std::vector<Span> want;
      by_hand->find(text, got);
      icu->find(text, want);
      ASSERT_EQ(spelled(got, text), spelled(want, text)) << expression;
    }
  }
  EXPECT_EQ(known_matcher("a"), nullptr);
}

}  // namespace
}  // namespace grouphead::text
