#pragma once

#include <filesystem>
#include <memory>

#include "grouphead/models/model.h"
#include "grouphead/train/fit.h"

#pragma GCC visibility push(default)
namespace grouphead {

/// A model with what it is trained by.
struct TrainableModel {
  std::shared_ptr<Model> model{};
  std::unique_ptr<CompiledModel> compiled{};  ///< null: the file's model was not compiled
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
/// stopped. Errors: IoError also for an optimizer, losses and metrics that this library does not
/// have, and for a state that is not this optimizer's.
TrainableModel load_compiled_model(const std::filesystem::path& file);

/// Writes a `.keras` file that Keras 3.15 loads, at once. Errors: IoError; an old file stays.
/// ConfigError for a model that is not built. Source: keras.Model.save.
void save_model(const Model& model, const std::filesystem::path& file);
/// The same with what it is trained by, and the optimizer's state. Errors: ConfigError also where
/// the learning rate is a function, or what is trained is no Model.
void save_model(const CompiledModel& compiled, const std::filesystem::path& file);

}  // namespace grouphead
#pragma GCC visibility pop
