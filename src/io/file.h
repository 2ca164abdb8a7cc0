#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

#include "grouphead/tensor.h"

namespace grouphead::io {

/// A file open for reading. Errors: IoError with the path and the reason of the system.
class InputFile {
 public:
  explicit InputFile(const std::filesystem::path& path);
  ~InputFile();
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;

  bool is_regular() const noexcept { return is_regular_; }
  /// Bytes of a regular file when it was opened.
  Index size() const noexcept { return size_; }
  /// Reads up to `bytes` bytes; fewer only at the end of the file.
  Index read(void* to, Index bytes);

 private:
  std::filesystem::path path_;
  int descriptor_ = -1;
  bool is_regular_ = false;
  Index size_ = 0;
};

/// The whole file. Errors: IoError with the reason of the system.
std::string read_file(const std::filesystem::path& path);

/// Writes beside the target, flushes, renames. A target that exists and is not a regular file, or
/// names an open descriptor (/dev/stdout), is written directly. Errors: IoError; the old file
/// stays.
void write_file(const std::filesystem::path& path, std::string_view contents);

/// The same, the contents produced in pieces: `produce` gets a function that appends bytes.
using Append = std::function<void(std::string_view)>;
void write_file(const std::filesystem::path& path,
                const std::function<void(const Append&)>& produce);

/// Removes what writers that were killed left in `folder`.
void remove_leftovers(const std::filesystem::path& folder) noexcept;

}  // namespace grouphead::io
