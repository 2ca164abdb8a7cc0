#include "testing/sweep.h"

#include <charconv>
#include <optional>
#include <sstream>
#include <string>

#include "core/check.h"

namespace grouphead::testing {
namespace {

struct Range {
  std::string_view name;
  Index low, high;
};

std::optional<Index> whole_number(std::string_view digits) {
  Index value = 0;
  const char* const end = digits.data() + digits.size();
  const auto [stop, error] = std::from_chars(digits.data(), end, value);
  if (error != std::errc() || stop != end || value < 1) return std::nullopt;
  return value;
}

Range parse_range(std::string_view text) {
  const std::size_t equals = text.find('=');
  const std::size_t dots = text.find("..");
  if (equals != std::string_view::npos && dots != std::string_view::npos && dots > equals) {
    const auto low = whole_number(text.substr(equals + 1, dots - equals - 1));
    const auto high = whole_number(text.substr(dots + 2));
    if (low && high && *low <= *high) return {text.substr(0, equals), *low, *high};
  }
  core::throw_config_error("problem", "sweep", "a size and its range, as in t=512..32768", text);
}

bool is_size(std::string_view word, std::string_view name) {
  return word.starts_with(name) && word.size() > name.size() &&
         word.find_first_not_of("0123456789", name.size()) == std::string_view::npos;
}

bool is_default(const Problem& problem, const std::string& without) {
  try {
    return parse_problem(without) == problem;
  } catch (const ConfigError&) {
    return false;
  }
}

/// The words of a problem without the one at `left_out`.
std::string join(const std::vector<std::string>& words, std::size_t left_out) {
  std::string text;
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (i != left_out) text.append(words[i]).append(" ");
  }
  return text;
}

}  // namespace

std::vector<Problem> sweep(const Problem& problem, std::string_view range) {
  const Range wanted = parse_range(range);
  std::istringstream in(to_string(problem));
  std::vector<std::string> words;
  for (std::string word; in >> word;) words.push_back(word);
  std::string kept;
  bool found = false;
  for (std::size_t i = 0; i < words.size(); ++i) {
    const bool is_swept = i > 0 && is_size(words[i], wanted.name);
    found = found || is_swept;
    if (!is_swept && !is_default(problem, join(words, i))) kept.append(words[i]).append(" ");
  }
  if (!found) {
    core::throw_config_error("problem", "sweep", "a size of " + to_string(problem), wanted.name);
  }
  std::vector<Problem> problems;
  for (Index value = wanted.low; value <= wanted.high; value *= 2) {
    problems.push_back(parse_problem(kept + std::string(wanted.name) + std::to_string(value)));
  }
  return problems;
}

}  // namespace grouphead::testing
