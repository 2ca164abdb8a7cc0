#pragma once

#include <string>
#include <string_view>

#include "grouphead/core/config_value.h"

namespace grouphead::io {

/// What a JSON text of a stranger may cost.
struct JsonLimits {
  std::size_t bytes = std::size_t{64} << 20;
  int depth = 256;  ///< lists and objects inside each other
};

/// A JSON text as Python's `json` writes it: NaN, Infinity and -Infinity are numbers. Whole numbers
/// stay integers; entries of objects keep their order. `what` names the text in messages.
/// Errors: IoError for a text that is not JSON, has a key twice in one object or an integer beyond
/// 64 bits, or exceeds the limits.
ConfigValue parse_json(std::string_view text, std::string_view what, const JsonLimits& limits = {});

/// The text that Python's json.dumps(value) gives, or with indent >= 0 json.dumps(value,
/// indent=...); parse_json() reads the same value back. Errors: IoError for strings that are not
/// UTF-8.
std::string json_text(const ConfigValue& value, int indent = -1);

}  // namespace grouphead::io
