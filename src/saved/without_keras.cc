// What a build without HDF5 and libzip says of Keras's files.

#include "saved/keras_files.h"

namespace grouphead::saved {
namespace {

[[noreturn]] void refuse(const std::filesystem::path& file) {
  throw IoError("[keras] " + file.string() +
                ": expected a build with GROUPHEAD_IO_KERAS, which reads and writes Keras's files, "
                "got one without");
}

}  // namespace

bool has_keras_files() noexcept { return false; }

KerasContents read_keras_contents(const std::filesystem::path& file) { refuse(file); }

std::shared_ptr<Model> architecture(const ConfigValue& config, Index /*elements*/) {
  return model_from_config(config);
}

TrainableModel load_keras_model(const std::filesystem::path& file, bool /*with_training*/) {
  refuse(file);
}

void save_keras_model(const Model& /*model*/, const CompiledModel* /*compiled*/,
                      const std::filesystem::path& file) {
  refuse(file);
}

void load_keras_weights(Layer& /*model*/, Optimizer* /*optimizer*/,
                        const std::filesystem::path& file) {
  refuse(file);
}

void save_keras_weights(const Layer& /*model*/, const Optimizer* /*optimizer*/,
                        const std::filesystem::path& file, const SaveWeightsConfig& /*config*/) {
  refuse(file);
}

}  // namespace grouphead::saved
