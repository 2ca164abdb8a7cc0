#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "io/owned_bytes.h"

namespace grouphead::io {

/// The contents of a .safetensors file: named tensors and a map of strings.
struct Safetensors {
  std::map<std::string, std::string> metadata;
  std::map<std::string, Tensor> tensors;

  /// Errors: IoError that names the missing tensor.
  const Tensor& at(const std::string& name) const;
};

/// The tensors of a file, mapped: none is copied but what is not aligned to its type, and the disk
/// is read where elements are touched (BOOL tensors at once: their bytes are checked). Each tensor
/// keeps the mapping alive; writing to one does not change the file. MappedFile says what happens
/// when the file changes. Every size is checked against the file first.
/// Errors: IoError for a file that is missing, truncated or inconsistent.
Safetensors read_safetensors(const std::filesystem::path& path);
/// The same from a file's bytes; `name` is for messages.
Safetensors read_safetensors(const OwnedBytes& file, const std::string& name);

/// Writes beside the target, flushes, renames: the target is the old file or the whole new one.
/// Errors: IoError; the old file stays.
void write_safetensors(const std::filesystem::path& path, const Safetensors& contents);

}  // namespace grouphead::io
