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
  /// Opening a pipe without a writer waits for one, as every program does that reads a named pipe.
  explicit InputFile(const std::filesystem::path& path) : InputFile(path, false) {}
  /// Refuses what is not a regular file, without waiting.
  static InputFile regular(const std::filesystem::path& path) { return InputFile(path, true); }
  ~InputFile();
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;

  bool is_regular() const noexcept { return is_regular_; }
  /// Bytes of a regular file when it was opened.
  Index size() const noexcept { return size_; }
  int descriptor() const noexcept { return descriptor_; }
  /// Bytes that the disk holds: size() without the holes of a sparse file. Before read() alone.
  Index data_size() const noexcept;
  /// Reads up to `bytes` bytes; fewer only at the end of the file.
  Index read(void* to, Index bytes);

 private:
  InputFile(const std::filesystem::path& path, bool is_regular);

  std::filesystem::path path_;
  int descriptor_ = -1;
  bool is_regular_ = false;
  Index size_ = 0;
};

/// Throws IoError for a sparse file that is nearly all holes (more than 64 MiB, and more than 100
/// times its data). Before memory is taken for what it seems to hold.
void require_data(const std::filesystem::path& path);

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

/// A whole regular file. Errors: IoError with the reason of the system.
std::string read_file(const std::filesystem::path& path);
/// The same of anything that can be read to its end: a pipe, a terminal, /dev/stdin. Waits for
/// what writes to it. For texts that a person names.
std::string read_stream(const std::filesystem::path& path);

/// What happens where the path is a symbolic link.
enum class Links {
  followed,  ///< the file it leads to is replaced; the link stays
  replaced   ///< the link itself is replaced, for folders that a stranger may have filled
};

/// Writes a new file beside the target, flushes, renames: the target is the old file or the whole
/// new one. The new file has the mode of the old one, and its owner where the system allows. It has
/// no name while it is written, where the file system can do that, so a killed process leaves
/// nothing. With Links::followed a target that exists and is not a regular file, or names an open
/// descriptor (/dev/stdout), is written directly. Errors: IoError; the old file stays.
void write_file(const std::filesystem::path& path, std::string_view contents,
                Links links = Links::followed);

/// The same, the contents produced in pieces: `produce` gets a function that appends bytes.
using Append = std::function<void(std::string_view)>;
void write_file(const std::filesystem::path& path,
                const std::function<void(const Append&)>& produce, Links links = Links::followed);

/// Removes what this user's writers that were killed left in `folder`. Files that are being written
/// are locked, and stay.
void remove_leftovers(const std::filesystem::path& folder) noexcept;

}  // namespace grouphead::io
