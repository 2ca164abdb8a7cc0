#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "grouphead/core/tensor.h"

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
  int descriptor() const noexcept { return descriptor_; }
  /// Reads up to `bytes` bytes; fewer only at the end of the file.
  Index read(void* to, Index bytes);

 private:
  std::filesystem::path path_;
  int descriptor_ = -1;
  bool is_regular_ = false;
  Index size_ = 0;
};

/// A regular file's bytes in memory, read from the disk when they are touched. What is written to
/// them changes neither the file nor another mapping. Tensor takes it as owner:
/// `Tensor(view, file)`.
///
/// A file that another process replaces (as write_file() does) stays what it was; one that is
/// truncated in place ends this process (SIGBUS) when a byte behind its new end is touched.
class MappedFile {
 public:
  /// Errors: IoError, also for what is not a regular file.
  static std::shared_ptr<MappedFile> open(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  /// They start at a page.
  std::span<std::byte> bytes() noexcept { return bytes_; }
  std::string_view text() const noexcept {
    return {reinterpret_cast<const char*>(bytes_.data()), bytes_.size()};
  }

 private:
  explicit MappedFile(std::span<std::byte> bytes) noexcept : bytes_(bytes) {}

  std::span<std::byte> bytes_;
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
