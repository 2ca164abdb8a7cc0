#pragma once

#include <filesystem>
#include <string>

#include "grouphead/core/config_value.h"

namespace grouphead::tools {

/// What a file holds: `.keras`, `.h5`, `.safetensors`, `.npz`, a folder of a training run
/// or of Hugging Face.
///
/// An object with `file`, `format`, `tensors` (path, dtype, shape), `numbers` (in all of them), and
/// for models `keras_version` and `model`: name, class, `layers` (name, class, `from` which layers,
/// and where this library has all of them shapes, parameters and the numbers that a KV cache holds
/// for each token), `parameters`, `kv_cache` numbers, and `problem` where it cannot be run.
/// Errors: IoError.
ConfigValue inspect(const std::filesystem::path& file);

/// The same for people: the layers as a table, groups and tensors as a tree.
std::string inspection_text(const ConfigValue& inspection);

}  // namespace grouphead::tools
