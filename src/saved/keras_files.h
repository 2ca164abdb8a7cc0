#pragma once

// Keras's files. keras_*.cc, or without_keras.cc in a build without them.

#include <filesystem>
#include <memory>

#include "grouphead/saved_model.h"
#include "grouphead/weights.h"

namespace grouphead::saved {

/// Whether this build reads and writes them.
bool has_keras_files() noexcept;

/// The file of a model; `.keras` or a legacy `.h5`. Errors: IoError.
TrainableModel load_keras_model(const std::filesystem::path& file, bool with_training);
/// `compiled` may be null. Errors: IoError; ConfigError.
void save_keras_model(const Model& model, const CompiledModel* compiled,
                      const std::filesystem::path& file);

/// `.weights.h5` and `.weights.json`; `.keras` and legacy `.h5` are only read. `optimizer` may be
/// null. Errors: IoError; then nothing is changed.
void load_keras_weights(const Layer& model, Optimizer* optimizer,
                        const std::filesystem::path& file);
void save_keras_weights(const Layer& model, const Optimizer* optimizer,
                        const std::filesystem::path& file, const SaveWeightsConfig& config);

}  // namespace grouphead::saved
