#pragma once

#include <filesystem>

#include "grouphead/layer.h"

namespace grouphead {

/// Writes the parameters under their paths as a safetensors file, at once. Errors: IoError; an old
/// file stays. Made for ModelCheckpoint.
void save_weights(const Layer& model, const std::filesystem::path& file);
/// Reads them back. Errors: IoError for a file without the model's paths, shapes and types; then no
/// parameter is changed.
void load_weights(const Layer& model, const std::filesystem::path& file);

}  // namespace grouphead
