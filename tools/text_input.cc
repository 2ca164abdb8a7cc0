#include "tools/text_input.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "grouphead/core/error.h"
#include "io/file.h"

namespace grouphead::tools {

std::string read_text(const std::string& file) {
  const std::filesystem::path path = file == "-" ? "/dev/stdin" : file;
  std::error_code ignored;
  const bool is_device = std::filesystem::is_character_file(path, ignored);
  const bool is_typed = file == "-" && ::isatty(STDIN_FILENO) == 1;
  if (is_device && !is_typed) {
    throw IoError("[read] " + file + ": expected a file or a pipe, got a device");
  }
  return io::read_stream(path);
}

std::vector<std::string> lines_of(std::string_view text) {
  std::vector<std::string> lines;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    lines.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

void require_regular(const std::string& file) {
  std::error_code error;
  const std::filesystem::file_status status = std::filesystem::status(file, error);
  if (std::filesystem::is_regular_file(status)) return;
  if (!std::filesystem::exists(status)) {
    error = std::make_error_code(std::errc::no_such_file_or_directory);
    throw IoError("[read] " + file + ": " + error.message());
  }
  throw IoError("[read] " + file + ": expected a regular file");
}

}  // namespace grouphead::tools
