#pragma once

#include <filesystem>
#include <map>

#include "io/owned_bytes.h"

namespace grouphead::io {

/// The arrays of a .npz file by name (its members without `.npy`), each as read_npy() says; stored
/// ones that are aligned to their type are not copied.
/// Errors: IoError, also for members that are no .npy files, and in a build without archives
std::map<std::string, Tensor> read_npz(const std::filesystem::path& path);
/// The same from a file's bytes; `name` is for messages.
std::map<std::string, Tensor> read_npz(const OwnedBytes& file, const std::string& name);

/// Writes at once, members stored as they are. Memory: three times the arrays.
/// Errors: as write_npy(); in a build without archives
void write_npz(const std::filesystem::path& path, const std::map<std::string, Tensor>& tensors);

}  // namespace grouphead::io
