#include "grouphead/files/weights.h"

#include "grouphead/train/fit.h"
#include "saved/keras_files.h"
#include "saved/model_folder.h"

namespace grouphead {
namespace {

/// Whether the name is one of Keras's.
bool is_keras_file(const std::filesystem::path& file) {
  const std::string name = file.filename().string();
  return name.ends_with(".h5") || name.ends_with(".weights.json") || name.ends_with(".keras");
}

void save(const Layer& model, const Optimizer* optimizer, const std::filesystem::path& file,
          const SaveWeightsConfig& config) {
  if (is_keras_file(file)) return saved::save_keras_weights(model, optimizer, file, config);
  io::Safetensors contents;
  saved::add_parameters(model.parameters(), contents);
  io::write_safetensors(file, contents);
}

void load(const Layer& model, Optimizer* optimizer, const std::filesystem::path& file) {
  if (is_keras_file(file)) return saved::load_keras_weights(model, optimizer, file);
  const io::Safetensors contents = io::read_safetensors(file);
  const ParameterList parameters = model.parameters();
  saved::require_parameters(contents, file, "", parameters);
  for (const auto& [path, parameter] : parameters) copy(contents.at(path), parameter->edit());
}

}  // namespace

void save_weights(const Layer& model, const std::filesystem::path& file,
                  const SaveWeightsConfig& config) {
  save(model, nullptr, file, config);
}

void save_weights(const CompiledModel& compiled, const std::filesystem::path& file,
                  const SaveWeightsConfig& config) {
  save(compiled.model(), compiled.has_optimizer() ? &compiled.optimizer() : nullptr, file, config);
}

void load_weights(const Layer& model, const std::filesystem::path& file) {
  load(model, nullptr, file);
}

void load_weights(CompiledModel& compiled, const std::filesystem::path& file) {
  load(compiled.model(), compiled.has_optimizer() ? &compiled.optimizer() : nullptr, file);
}

}  // namespace grouphead
