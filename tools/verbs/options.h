#pragma once

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <charconv>
#include <cmath>
#include <concepts>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace grouphead::tools {

// Options that are numbers. They are read here and not by CLI11, which takes -1 for 2^64 - 1, 010
// for 8, and has ranges of 309 digits in its messages.

/// Which real numbers an option takes.
struct RealRange {
  double low;
  double high;
  bool takes_low;
  bool takes_high;
  const char* words;  ///< "a number above 0"

  bool holds(double value) const noexcept {
    return std::isfinite(value) && (takes_low ? value >= low : value > low) &&
           (takes_high ? value <= high : value < high);
  }
};
inline constexpr double kNoLimit = 1e308;
inline constexpr RealRange kAny{-kNoLimit, kNoLimit, true, true, "a number"};
inline constexpr RealRange kAboveZero{0, kNoLimit, false, true, "a number above 0"};
inline constexpr RealRange kZeroOrMore{0, kNoLimit, true, true, "0 or a number above it"};
inline constexpr RealRange kOneOrMore{1, kNoLimit, true, true, "1 or a number above it"};
inline constexpr RealRange kUpToOne{0, 1, false, true, "a number above 0, at most 1"};
inline constexpr RealRange kBelowOne{0, 1, true, false, "a number from 0 to below 1"};

/// CLI11 adds the option's name.
[[noreturn]] inline void refuse_value(const std::string& expected, const std::string& got) {
  throw CLI::ValidationError(fmt::format("expected {}, got {}", expected, got));
}

/// All of `text` as a number. Decimal, and the same in every language.
template <class T>
bool read_number(std::string_view text, T& value) {
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  return error == std::errc() && stop == end;
}

/// Adds an option whose last value is read by `read(text)`.
template <class Read>
CLI::Option* add_number(CLI::App& verb, const std::string& names, const std::string& help,
                        Read read) {
  CLI::Option* option = verb.add_option(names, help);
  return option->type_name("N")->take_last()->expected(1)->each(read);
}

/// An option for a whole number from `low` to `high`; without it `value` stays.
template <std::integral T>
CLI::Option* add_whole(CLI::App& verb, const std::string& names, T& value, const std::string& help,
                       std::type_identity_t<T> low, std::type_identity_t<T> high) {
  CLI::Option* option = add_number(verb, names, help, [&value, low, high](const std::string& text) {
    T got{};
    if (!read_number(text, got) || got < low || got > high) {
      refuse_value(fmt::format("a whole number from {} to {}", low, high), text);
    }
    value = got;
  });
  return option->default_str(fmt::format("{}", value));
}

/// An option for a real number of `range`. `T` is double, or std::optional<double>: none is given.
template <class T>
CLI::Option* add_real(CLI::App& verb, const std::string& names, T& value, const std::string& help,
                      const RealRange& range) {
  CLI::Option* option = add_number(verb, names, help, [&value, range](const std::string& text) {
    double got{};
    if (!read_number(text, got) || !range.holds(got)) refuse_value(range.words, text);
    value = got;
  });
  if constexpr (std::same_as<T, double>) option->default_str(fmt::format("{}", value));
  return option;
}

/// Adds --classes, files of register_classes(); the verb reads them when it acts.
using ClassFiles = std::vector<std::filesystem::path>;
void add_classes(CLI::App& verb, ClassFiles& files);
void register_all(const ClassFiles& files);

/// Help within 80 columns: an option's value and what it is without it, in words.
class HelpFormatter final : public CLI::Formatter {
 public:
  HelpFormatter();
  std::string make_option_name(const CLI::Option* option, bool is_positional) const override;
  std::string make_option_opts(const CLI::Option* option) const override;
  std::string make_option_desc(const CLI::Option* option) const override;
};

/// What to say of a command line that cannot be read, with the known word that is nearest to one
/// that is not known.
std::string text_of(const CLI::ParseError& error, const CLI::App& app, int argc, char** argv);

}  // namespace grouphead::tools
