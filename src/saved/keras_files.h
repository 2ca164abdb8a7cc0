#pragma once

// Keras's files. keras_*.cc, or without_keras.cc in a build without them.

#include <filesystem>
#include <memory>

#include "grouphead/files/saved_model.h"
#include "grouphead/files/weights.h"

namespace grouphead::saved {

/// Whether this build reads and writes them.
bool has_keras_files() noexcept;

/// The file of a model; `.keras` or a legacy `.h5`. Errors: IoError.
TrainableModel load_keras_model(const std::filesystem::path& file, bool with_training);
/// `compiled` may be null. Errors: IoError; ConfigError.
void save_keras_model(const Model& model, const CompiledModel* compiled,
                      const std::filesystem::path& file);

/// What a file says of itself.
struct KerasContents {
  struct Array {
    std::string path{};
    std::string dtype{};  ///< `f32`, `int8`, ...; empty: one that is not read
    Shape shape{};
  };
  std::string format{};         ///< `keras` or `hdf5`
  std::string keras_version{};  ///< empty: none
  ConfigValue config{};         ///< of a model; null: none
  std::vector<Array> arrays{};
  Index parameter_elements = 0;  ///< of the arrays that parameters can be of
};
/// Errors: IoError.
KerasContents read_keras_contents(const std::filesystem::path& file);
/// The model of a configuration from a file whose arrays have so many elements for parameters, its
/// own values undefined. Errors: ConfigError, as model_from_config().
std::shared_ptr<Model> architecture(const ConfigValue& config, Index elements);

/// `.weights.h5` and `.weights.json`; `.keras` and legacy `.h5` are only read. `optimizer` may be
/// null. Errors: IoError; then nothing is changed.
void load_keras_weights(Layer& model, Optimizer* optimizer, const std::filesystem::path& file);
void save_keras_weights(const Layer& model, const Optimizer* optimizer,
                        const std::filesystem::path& file, const SaveWeightsConfig& config);

}  // namespace grouphead::saved
