#pragma once

// Numbers as text and back, the same in every locale: the C library's functions write and expect
// the decimal point of the host program's locale, and streams group digits by it.

#include <optional>
#include <string>
#include <string_view>

namespace grouphead::core {

/// The fewest digits that give `value` again, as Python's repr writes them: `0.5`, `1e-05`, `3.0`,
/// and `NaN`, `Infinity`, `-Infinity` as its json module does.
std::string number_text(double value);
/// So many digits behind the point: `1.50`.
std::string fixed_text(double value, int digits);
/// So many digits in all, with an exponent where C's %g has one: `1.23e-05`.
std::string general_text(double value, int digits);

/// All of `text` as a number: digits with an optional fraction and exponent. Too large ones are
/// infinite, too small ones 0. Nothing where it is none.
std::optional<double> number_from_text(std::string_view text);

/// ASCII letters in lower case, whatever the locale; other bytes stay.
std::string lower_case(std::string_view text);

}  // namespace grouphead::core
