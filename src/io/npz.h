#pragma once

#include <filesystem>
#include <map>

#include "io/owned_bytes.h"
#include "io/stored_tensors.h"

namespace grouphead::io {

/// The arrays of a .npz file by name (its members without `.npy`), each read as read_npy() says
/// when it is asked for; stored ones that are aligned to their type are not copied. Other members
/// are listed under their names, of the type `file`, and cannot be read.
/// Errors: IoError for what is no archive, and in a build without archives
StoredTensors open_npz(const std::filesystem::path& path);
/// The same from a file's bytes; `name` is for messages.
StoredTensors open_npz(const OwnedBytes& file, const std::string& name);

/// Writes at once, members stored as they are. Memory: three times the arrays.
/// Errors: as write_npy(); in a build without archives
void write_npz(const std::filesystem::path& path, const std::map<std::string, Tensor>& tensors);

}  // namespace grouphead::io
