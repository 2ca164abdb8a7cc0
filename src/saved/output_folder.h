#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace grouphead::saved {

/// A folder that files are written into. It is made where it is missing, and no other process gets
/// one at the same place while this lives. What it made it removes again, unless keep() is called.
///
/// Threads  one caller at a time
class OutputFolder {
 public:
  /// `operation` is for messages. Errors: IoError where the folder cannot be made, or where another
  /// process writes into it.
  OutputFolder(std::filesystem::path folder, std::string_view operation);
  ~OutputFolder();
  OutputFolder(const OutputFolder&) = delete;
  OutputFolder& operator=(const OutputFolder&) = delete;

  const std::filesystem::path& path() const noexcept { return path_; }
  void keep() noexcept { made_.clear(); }

  /// Errors: ConfigError that names what is in the folder, but for what killed processes left,
  /// which it removes.
  void require_empty() const;

 private:
  void make();
  void lock();

  std::filesystem::path path_;
  std::string operation_;
  std::vector<std::filesystem::path> made_;  // innermost first
  int locked_ = -1;                          // a descriptor of the folder
};

}  // namespace grouphead::saved
