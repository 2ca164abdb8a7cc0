#include "grouphead/weights.h"

#include "saved/model_folder.h"

namespace grouphead {

void save_weights(const Layer& model, const std::filesystem::path& file) {
  io::Safetensors contents;
  saved::add_parameters(model.parameters(), contents);
  io::write_safetensors(file, contents);
}

void load_weights(const Layer& model, const std::filesystem::path& file) {
  const io::Safetensors contents = io::read_safetensors(file);
  const ParameterList parameters = model.parameters();
  saved::require_parameters(contents, file, "", parameters);
  for (const auto& [path, parameter] : parameters) copy(contents.at(path), parameter->edit());
}

}  // namespace grouphead
