#pragma once

#include <filesystem>

#include "io/owned_bytes.h"
#include "io/stored_tensors.h"

namespace grouphead::io {

/// The array of a .npy file, mapped as read_safetensors() maps; one in Fortran's order, of
/// big-endian numbers, or of integers that tensors do not have (i8, i16, u16 as i32; u32, u64 as
/// i64) is copied. Every size is checked against the file first.
/// Errors: IoError for a file that is missing, truncated or inconsistent, an array of objects, of
/// texts, of fields, or of another type that tensors do not have
Tensor read_npy(const std::filesystem::path& path);
/// The same from a file's bytes; `name` is for messages.
Tensor read_npy(const OwnedBytes& file, const std::string& name);

/// What the beginning of a .npy file says, without read(). Its first kNpyFront bytes are enough.
/// Errors: IoError for what is no .npy file.
StoredTensor describe_npy(std::span<const std::byte> front, const std::string& name);
inline constexpr std::size_t kNpyFront = 10'012;

/// Writes at once, in version 1.0. Errors: IoError, also for bf16, which .npy does not have; the
/// old file stays.
void write_npy(const std::filesystem::path& path, const Tensor& tensor);
/// Everything before the elements in the file of a tensor. Errors: as write_npy().
std::string npy_header(const Tensor& tensor, const std::string& name);

}  // namespace grouphead::io
