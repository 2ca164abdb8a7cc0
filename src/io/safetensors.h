#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <string>

#include "io/file.h"
#include "io/owned_bytes.h"
#include "io/stored_tensors.h"

namespace grouphead::io {

/// A tensor that is made when it is written, and is not kept.
struct LateTensor {
  Dtype dtype = Dtype::f32;
  Shape shape{};
  std::function<Tensor()> make{};
};

/// The contents of a .safetensors file: named tensors and a map of strings.
struct Safetensors {
  std::map<std::string, std::string> metadata;
  std::map<std::string, Tensor> tensors;
  std::map<std::string, LateTensor> late{};  ///< more of them; a file that is read has none

  /// Errors: IoError that names the missing tensor.
  const Tensor& at(const std::string& name) const;
};

/// The tensors of a file, mapped, each read when it is asked for: none is copied but what is not
/// aligned to its type, and integers that tensors do not have (I8, I16, U16 as i32; U32, U64 as
/// i64); the disk is read where elements are touched (BOOL tensors at once: their bytes are
/// checked). Each tensor keeps the mapping alive; writing to one does not change the file.
/// MappedFile says what happens when the file changes. Every size is checked against the file
/// first; a tensor of a type that is not read (F8_E4M3, C64, ...) is listed, and refused where it
/// is wanted. Errors: IoError for a file that is missing, truncated or inconsistent.
StoredTensors open_safetensors(const std::filesystem::path& path);
/// The same from a file's bytes; `name` is for messages.
StoredTensors open_safetensors(const OwnedBytes& file, const std::string& name);

/// The same with all tensors. Errors: IoError also where one of them cannot be read.
Safetensors read_safetensors(const std::filesystem::path& path);
Safetensors read_safetensors(const OwnedBytes& file, const std::string& name);

/// Writes beside the target, flushes, renames: the target is the old file or the whole new one.
/// Errors: IoError; the old file stays.
void write_safetensors(const std::filesystem::path& path, const Safetensors& contents,
                       Links links = Links::followed);

}  // namespace grouphead::io
