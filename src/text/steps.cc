#include "text/steps.h"

#include "text/characters.h"
#include "text/problem.h"

namespace grouphead::text {

void StepCounter::add() {
  constexpr int kMost = 64;
  if (++steps_ > kMost) refuse("steps", "at most 64 of a kind", "more");
}

std::string character_from(const ConfigValue& value, std::string_view what) {
  const std::string& text = value.as_string(what);
  if (count_characters(text) != 1) refuse(what, "one character", text);
  return text;
}

void require_growth(std::size_t size, std::size_t original) {
  constexpr std::size_t kSmall = std::size_t{64} << 10;
  constexpr std::size_t kTimes = 32;
  if (size > kSmall && size / kTimes > original) {
    refuse("text", "steps that make it at most 32 times as long", std::to_string(size) + " bytes");
  }
}

}  // namespace grouphead::text
