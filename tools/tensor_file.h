#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "grouphead/core/tensor.h"

namespace grouphead::tools {

/// The named tensors of a file, by its extension: .safetensors or .npz. Errors: IoError.
std::map<std::string, Tensor> read_tensors(const std::filesystem::path& file);
/// Writes one, in the same way. Errors: IoError; an old file stays.
void write_tensors(const std::filesystem::path& file, const std::map<std::string, Tensor>& tensors);

}  // namespace grouphead::tools
