#pragma once

#include <string>
#include <string_view>

#include "grouphead/core/error.h"

namespace grouphead::text {

/// IoError: `[tokenizer] what: expected ..., got ...`.
[[noreturn]] inline void refuse(std::string_view what, std::string_view expected,
                                std::string_view got) {
  std::string message = "[tokenizer] ";
  message.append(what).append(": expected ").append(expected).append(", got ").append(got);
  throw IoError(message);
}

}  // namespace grouphead::text
