#pragma once

#include <string>
#include <string_view>

#include "grouphead/core/config_value.h"

namespace grouphead::io {

/// What a JSON text of a stranger may cost.
struct JsonLimits {
  std::size_t bytes = std::size_t{64} << 20;
  std::size_t values = bytes;  ///< numbers, texts, lists, objects and the rest
  int depth = 256;             ///< lists and objects inside each other

  /// For a text that is compressed in a file of `held` bytes: in proportion to the file, since a
  /// value takes 40 bytes of memory and more.
  static constexpr JsonLimits of_file(std::size_t held) {
    return {.bytes = (std::size_t{16} << 20) + 8 * held,
            .values = (std::size_t{1} << 21) + held / 2};
  }
};

/// A JSON text as Python's `json` writes it: NaN, Infinity and -Infinity are numbers. Whole numbers
/// stay integers; entries of objects keep their order. `what` names the text in messages.
/// Errors: IoError for a text that is not JSON, has a key twice in one object or an integer beyond
/// 64 bits, or exceeds the limits.
ConfigValue parse_json(std::string_view text, std::string_view what, const JsonLimits& limits = {});

/// What happens to strings that are not UTF-8.
enum class OtherBytes {
  refused,
  replaced  ///< by U+FFFD, where a text is for people
};

/// The text that Python's json.dumps(value) gives, or with indent >= 0 json.dumps(value,
/// indent=...); parse_json() reads the same value back. Errors: IoError for strings that are not
/// UTF-8, unless they are replaced.
std::string json_text(const ConfigValue& value, int indent = -1,
                      OtherBytes other = OtherBytes::refused);

}  // namespace grouphead::io
