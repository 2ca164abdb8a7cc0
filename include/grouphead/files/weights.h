#pragma once

#include <filesystem>

#include "grouphead/layers/layer.h"

#pragma GCC visibility push(default)
namespace grouphead {

class CompiledModel;

struct SaveWeightsConfig {
  /// Bytes of numbers in each file beside a `.weights.json`, at most.
  Index largest_shard = Index{5} << 30;
};

/// Writes the parameters' numbers. The file's name says how:
///
///   x.weights.h5     Keras's weights
///   x.weights.json   the same in files `x_00000.weights.h5`, ... beside it, which it lists
///   any other        safetensors: parameters under their paths
///
/// Errors: IoError; an old file stays. Made for ModelCheckpoint.
void save_weights(const Layer& model, const std::filesystem::path& file,
                  const SaveWeightsConfig& config = {});
/// The same with the optimizer's state, in Keras's two forms.
void save_weights(const CompiledModel& compiled, const std::filesystem::path& file,
                  const SaveWeightsConfig& config = {});

/// Reads them back; from `.keras` files and legacy `.h5` ones too. Keras's forms go by the layers'
/// classes and their order, or in a legacy file by their order alone: names say nothing. Numbers
/// are rounded to the parameters' types, int8 ones are scaled; what the model does not have is left
/// alone. Errors: IoError for a file without the model's paths or shapes (one error lists them
/// all), in safetensors also types; then no parameter is changed.
void load_weights(const Layer& model, const std::filesystem::path& file);
/// The same with the optimizer's state, where the file has one.
void load_weights(CompiledModel& compiled, const std::filesystem::path& file);

}  // namespace grouphead
#pragma GCC visibility pop
