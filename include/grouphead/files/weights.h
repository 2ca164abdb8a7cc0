#pragma once

#include <filesystem>
#include <functional>
#include <string>

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

struct LoadWeightsConfig {
  /// The name in the file of the parameter at `path`, for safetensors of other programs. Absent:
  /// the path itself.
  std::function<std::string(const std::string& path)> rename{};
};

/// Reads them back; from `.keras` files and legacy `.h5` ones too. Keras's forms go by the layers'
/// classes and their order, or in a legacy file by their order alone: names say nothing. Values
/// are rounded to the parameters' types, int8 ones are scaled; what the model does not have is left
/// alone, whatever its type. Errors: IoError for a file without the model's paths or shapes (one
/// error lists them all); then no parameter is changed. ConfigError for `rename` with one of
/// Keras's forms.
void load_weights(Layer& model, const std::filesystem::path& file,
                  const LoadWeightsConfig& config = {});
/// The same with the optimizer's state, where the file has one.
void load_weights(CompiledModel& compiled, const std::filesystem::path& file,
                  const LoadWeightsConfig& config = {});

}  // namespace grouphead
#pragma GCC visibility pop
