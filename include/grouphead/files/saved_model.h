#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "grouphead/models/model.h"
#include "grouphead/train/fit.h"

#pragma GCC visibility push(default)
namespace grouphead {

/// A model with what it is trained by.
struct TrainableModel {
  std::shared_ptr<Model> model{};
  std::unique_ptr<CompiledModel> compiled{};  ///< null: the file's model was not compiled
  /// Why the model comes uncompiled though the file's is compiled; else empty.
  std::string problem{};
};

struct LoadCompiledConfig {
  /// false: a model whose optimizer, losses or optimizer's state this library cannot take comes
  /// uncompiled, and TrainableModel::problem says why.
  bool requires_training = true;
};

/// The model of a file that Keras or save_model() wrote: `.keras`, or a legacy whole-model `.h5`.
/// What it was trained by is not read.
///
/// Memory   the model, and no other copy of its weights where they are neither compressed nor of
///          another type
/// Errors   IoError that names the file: for one that is missing, damaged or not believed, whose
///          weights do not fit (one error lists them all), or with layers that this library does
///          not have (the error lists all of them); and in a build without Keras's files
/// Source   keras.saving.load_model, of files of Keras 3.0 to 3.15
std::shared_ptr<Model> load_model(const std::filesystem::path& file);
/// The same, compiled as in the file, with the optimizer's state, so that training goes on where it
/// stopped. Of a LossScaleOptimizer the optimizer inside is taken. Errors: IoError also for an
/// optimizer and losses that this library does not have (one error names them all), and for a state
/// that is not this optimizer's. Metrics are made, and refused, with the first batch.
TrainableModel load_compiled_model(const std::filesystem::path& file,
                                   const LoadCompiledConfig& config = {});

struct SaveModelConfig {
  /// Whether to write a model that beyond_keras() finds something in: a file for load_model() that
  /// Keras refuses.
  bool allow_own_options = false;
};

/// Writes a `.keras` file that Keras 3.15 loads, at once. Errors: IoError; an old file stays.
/// ConfigError for a model that is not built, or that has what Keras does not (the error lists all
/// of it) unless that is allowed. Source: keras.Model.save.
void save_model(const Model& model, const std::filesystem::path& file,
                const SaveModelConfig& config = {});
/// The same with what it is trained by, and the optimizer's state. Errors: ConfigError also where
/// the learning rate is a function, or what is trained is no Model.
void save_model(const CompiledModel& compiled, const std::filesystem::path& file,
                const SaveModelConfig& config = {});

/// What Keras's constructors and calls do not take of a model, one text each:
/// `'attention' (GroupQueryAttention): rope`. Empty: Keras loads what save_model() writes. Errors:
/// ConfigError for a model that is not built.
std::vector<std::string> beyond_keras(const Model& model);

}  // namespace grouphead
#pragma GCC visibility pop
