#pragma once

#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>

namespace grouphead::io {

/// The whole file. Errors: IoError with the reason of the system.
std::string read_file(const std::filesystem::path& path);

/// Writes beside the target, flushes, renames; a target that exists and is not a regular file is
/// written directly. Errors: IoError; the old file stays.
void write_file(const std::filesystem::path& path, std::string_view contents);

/// The same, the contents produced in pieces: `produce` gets a function that appends bytes.
using Append = std::function<void(std::string_view)>;
void write_file(const std::filesystem::path& path,
                const std::function<void(const Append&)>& produce);

}  // namespace grouphead::io
