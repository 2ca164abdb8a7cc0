#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "grouphead/files/model_folder.h"
#include "io/safetensors.h"
#include "saved/run_config.h"
#include "train/whole_tensor.h"

namespace grouphead::saved {

/// Throws IoError unless `contents` has a tensor `<prefix><path>` of the parameter's shape and
/// dtype for each parameter; the error lists all that do not fit. `file` is for the message.
void require_parameters(const io::StoredTensors& contents, const std::filesystem::path& file,
                        const std::string& prefix, const ConstParameterList& parameters);

/// The same of a run's tensors, under their paths.
void require_tensors(const io::StoredTensors& contents, const std::filesystem::path& file,
                     const std::vector<train::WholeTensor>& tensors);

/// Throws IoError for sizes that the file's tensors of the configuration's type cannot fill, before
/// a model of these sizes is made.
void require_plausible(const TrainerConfig& config, const io::StoredTensors& contents,
                       const std::filesystem::path& file);

/// Throws IoError that lists the problems, each a line, unless there are none.
void throw_problems(const std::string& where, const std::vector<std::string>& problems);

/// Adds the parameters' values under their paths, to be read when they are written.
void add_parameters(const ConstParameterList& parameters, io::Safetensors& contents);
void add_tensors(const std::vector<train::WholeTensor>& tensors, io::Safetensors& contents);

/// Class and configuration of a model as the text of config.json.
/// Errors: ConfigError, as save_model_folder().
std::string description_of(const Layer& model);

/// save_model_folder() into a folder that is there, with the options that the model was trained by
/// as metadata of the weights' file.
void write_model(const std::filesystem::path& folder, const Layer& model,
                 const std::optional<TrainerConfig>& training);
/// The same of a model of this description_of() with these weights.
void write_model(const std::filesystem::path& folder, const std::string& description,
                 const std::vector<train::WholeTensor>& weights,
                 const std::optional<TrainerConfig>& training);

/// A model folder's contents.
struct LoadedModel {
  std::shared_ptr<Layer> model;
  std::optional<TrainerConfig> training;  ///< of folders that `grouphead train` wrote
};

/// Whether a folder's config.json is one of transformers, for load_pretrained().
bool is_pretrained_folder(const std::filesystem::path& folder);

/// A folder of transformers is read by load_pretrained(). Of the others
/// the weights are those of model.safetensors, or of state.safetensors where a run was killed
/// before it wrote the former. Folders that older versions of `grouphead train` wrote have a
/// TrainerConfig in place of class and configuration.
/// Errors: as load_model_folder().
LoadedModel read_model_folder(const std::filesystem::path& folder);

struct LoadedLanguageModel {
  std::shared_ptr<LanguageModel> model;
  std::optional<TrainerConfig> training;
};
/// Errors: IoError also for a model of another class.
LoadedLanguageModel load_language_model(const std::filesystem::path& folder);

}  // namespace grouphead::saved
