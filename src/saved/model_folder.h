#pragma once

#include <filesystem>
#include <memory>

#include "io/safetensors.h"
#include "saved/run_config.h"

namespace grouphead::saved {

/// Throws IoError unless `contents` has a tensor `<prefix><path>` of the parameter's shape and
/// dtype for each parameter. `file` is for the message.
void require_parameters(const io::Safetensors& contents, const std::filesystem::path& file,
                        const std::string& prefix, const ParameterList& parameters);

/// Adds copies of the parameters' values under their paths.
void add_parameters(const ParameterList& parameters, io::Safetensors& contents);

/// Writes config.json and model.safetensors: the weights under their paths.
void write_model(const std::filesystem::path& folder, const LanguageModel& model,
                 const TrainerConfig& config);

struct LoadedModel {
  TrainerConfig config;
  std::unique_ptr<LanguageModel> model;
};

/// The language model of a training run's folder: model.safetensors, or state.safetensors where a
/// run was killed before it wrote the former. config.json is for people and other programs; when it
/// is there it must agree.
/// Errors: IoError that names file and tensor
LoadedModel load_language_model(const std::filesystem::path& folder);

}  // namespace grouphead::saved
