#pragma once

#include <string>
#include <string_view>

namespace grouphead::tools::report {

/// Bytes as letters, digits, + and /, with = at the end. RFC 4648.
std::string base64(std::string_view bytes);

}  // namespace grouphead::tools::report
