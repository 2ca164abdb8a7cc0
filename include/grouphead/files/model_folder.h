#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "grouphead/layers/layer.h"

#pragma GCC visibility push(default)
namespace grouphead {

/// Writes a model into a folder, which is made where it is missing:
///
///   config.json        what the model is: its class and configuration, as layer_to_config() gives
///   model.safetensors  its parameters under their paths, and the same configuration as metadata
///
/// For every class that can be made from its configuration: LanguageModel, the Edifice models,
/// Functional and Sequential models, single layers, and classes given to register_layer(). Nothing
/// of the training is stored; `grouphead generate`, `info` and `inspect` read such folders.
///
/// Errors: ConfigError for a model without parameters, or of a class that cannot be made again;
/// IoError: each old file stays until its new one is whole.
void save_model_folder(const Layer& model, const std::filesystem::path& folder);

/// The model of a folder that save_model_folder() or `grouphead train` wrote, built, with its
/// weights; of a folder that transformers wrote the model of load_pretrained().
///
/// Errors: IoError that names the file: for one that is missing, damaged or not believed, for a
/// class that is not known, for tensors that do not fit, and where config.json and
/// model.safetensors disagree.
std::shared_ptr<Layer> load_model_folder(const std::filesystem::path& folder);

namespace detail {
[[noreturn]] void throw_other_class(const std::filesystem::path& folder, const Layer& found);
}

/// The same, of this class: load_model_folder<LanguageModel>(folder). Errors: IoError for another.
template <class L>
std::shared_ptr<L> load_model_folder(const std::filesystem::path& folder) {
  const std::shared_ptr<Layer> found = load_model_folder(folder);
  auto model = std::dynamic_pointer_cast<L>(found);
  if (model == nullptr) detail::throw_other_class(folder, *found);
  return model;
}

}  // namespace grouphead
#pragma GCC visibility pop
