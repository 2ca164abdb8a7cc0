#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace grouphead::tools {

/// The text of a file, of a pipe, or for "-" of standard input. Errors: IoError, also for devices,
/// which may have no end.
std::string read_text(const std::string& file);

/// A text's lines, without their ends.
std::vector<std::string> lines_of(std::string_view text);

/// For names that come from a file. Errors: IoError unless it is a regular file, which has an end.
void require_regular(const std::string& file);

}  // namespace grouphead::tools
