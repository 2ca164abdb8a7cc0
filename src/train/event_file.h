#pragma once

// TensorBoard's event files: records of a length, a message of Protocol Buffers
// and their checksums.

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "grouphead/core/tensor.h"

namespace grouphead::train {

/// CRC-32 with Castagnoli's polynomial, as TFRecord masks it: rotated by 15
/// bits, plus a constant.
std::uint32_t masked_crc32c(std::string_view bytes) noexcept;

class EventFile {
 public:
  /// Makes a new file in a folder. Errors: IoError.
  explicit EventFile(const std::filesystem::path& folder);
  /// One number of a step. Errors: IoError.
  void scalar(const std::string& tag, double value, Index step);
  void flush() { out_.flush(); }

 private:
  void record(const std::string& message);

  std::filesystem::path file_;
  std::ofstream out_;
};

}  // namespace grouphead::train
