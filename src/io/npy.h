#pragma once

#include <filesystem>

#include "io/owned_bytes.h"

namespace grouphead::io {

/// The array of a .npy file, mapped as read_safetensors() maps; one in Fortran's order is copied
/// into ours. Every size is checked against the file first.
/// Errors: IoError for a file that is missing, truncated or inconsistent, an array of objects, of
/// fields, of big-endian numbers or of a type that tensors do not have
Tensor read_npy(const std::filesystem::path& path);
/// The same from a file's bytes; `name` is for messages.
Tensor read_npy(const OwnedBytes& file, const std::string& name);

/// Writes at once, in version 1.0. Errors: IoError, also for bf16, which .npy does not have; the
/// old file stays.
void write_npy(const std::filesystem::path& path, const Tensor& tensor);
/// Everything before the elements in the file of a tensor. Errors: as write_npy().
std::string npy_header(const Tensor& tensor, const std::string& name);

}  // namespace grouphead::io
