#include "core/number_text.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>

namespace grouphead::core {
namespace {

constexpr std::size_t kLongest = 400;  // digits of the greatest double, and a sign

template <class... Form>
std::string written(double value, Form... form) {
  std::array<char, kLongest> buffer{};
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value, form...);
  return {buffer.data(), end.ptr};
}

}  // namespace

std::string number_text(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "Infinity" : "-Infinity";
  std::string text = written(value, std::chars_format::scientific);
  const std::size_t mark = text.find('e');
  int exponent = 0;
  std::from_chars(text.data() + mark + 2, text.data() + text.size(), exponent);
  if (text[mark + 1] == '-') exponent = -exponent;
  if (exponent < -4 || exponent >= 16) return text;
  text = written(value, std::chars_format::fixed);
  return text.find('.') == std::string::npos ? text + ".0" : text;
}

std::string fixed_text(double value, int digits) {
  return written(value, std::chars_format::fixed, digits);
}

std::string general_text(double value, int digits) {
  return written(value, std::chars_format::general, digits);
}

std::optional<double> number_from_text(std::string_view text) {
  if (text.starts_with('+')) text.remove_prefix(1);
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (end != text.data() + text.size() || error == std::errc::invalid_argument) return {};
  if (error != std::errc::result_out_of_range) return value;
  const std::size_t mark = text.find_first_of("eE");
  const bool is_small = mark != std::string_view::npos
                            ? text.substr(mark + 1).starts_with('-')
                            : text.find_first_not_of("-0") == text.find('.');
  const double size = is_small ? 0 : std::numeric_limits<double>::infinity();
  return text.starts_with('-') ? -size : size;
}

std::string lower_case(std::string_view text) {
  std::string lower(text);
  std::transform(lower.begin(), lower.end(), lower.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  return lower;
}

}  // namespace grouphead::core
