#include "saved/model_folder.h"

#include "io/file.h"

namespace grouphead::saved {
namespace {

namespace fs = std::filesystem;

std::string text_of(const Tensor& tensor) {
  return std::string(name_of(tensor.dtype())) + " " + tensor.shape().to_string();
}

// Refuses sizes that the file's tensors cannot have before a model of these sizes is made.
void require_plausible(const TrainerConfig& config, const io::Safetensors& contents,
                       const fs::path& file) {
  constexpr Index kWidest = Index{1} << 20;
  constexpr Index kDeepest = Index{1} << 16;
  Index elements = 0;
  for (const auto& [name, tensor] : contents.tensors) elements += tensor.size();
  const bool in_range = config.hidden_size <= kWidest && config.num_layers <= kDeepest;
  // The feed-forward kernels alone: 2 * M * 4 M in each block.
  if (in_range && 8 * config.num_layers * config.hidden_size * config.hidden_size <= elements) {
    return;
  }
  throw IoError("[load] " + file.string() + ": configuration: expected sizes that " +
                std::to_string(elements) + " elements can fill, got hidden " +
                std::to_string(config.hidden_size) + " and layers " +
                std::to_string(config.num_layers));
}

void require_config_agrees(const fs::path& file, const TrainerConfig& config) {
  std::error_code ignored;
  if (!fs::exists(file, ignored)) return;
  const TrainerConfig stated = config_from_json(io::read_file(file), "[load] " + file.string());
  const std::vector<Setting> got = settings_of(stated);
  const std::vector<Setting> want = settings_of(config);
  for (std::size_t i = 0; i < want.size(); ++i) {
    if (got[i].value == want[i].value) continue;
    throw IoError("[load] " + file.string() + ": " + want[i].name + ": expected " + want[i].value +
                  " as in the weights' file, got " + got[i].value);
  }
}

}  // namespace

void require_parameters(const io::Safetensors& contents, const fs::path& file,
                        const std::string& prefix, const ParameterList& parameters) {
  for (const auto& [path, parameter] : parameters) {
    const std::string name = prefix + path;
    const std::string expected =
        std::string(name_of(parameter->dtype())) + " " + parameter->shape().to_string();
    const auto found = contents.tensors.find(name);
    const std::string got = found == contents.tensors.end() ? "none" : text_of(found->second);
    if (got != expected) {
      throw IoError("[load] " + file.string() + ": " + name + ": expected " + expected + ", got " +
                    got);
    }
  }
}

void add_parameters(const ParameterList& parameters, io::Safetensors& contents) {
  for (const auto& [path, parameter] : parameters) {
    Tensor copied(parameter->shape(), parameter->dtype());
    copy(parameter->value(), copied);
    contents.tensors.emplace(path, std::move(copied));
  }
}

void write_model(const fs::path& folder, const LanguageModel& model, const TrainerConfig& config) {
  io::Safetensors contents;
  contents.metadata["configuration"] = to_json(config);
  add_parameters(model.parameters(), contents);
  io::write_file(folder / "config.json", contents.metadata["configuration"]);
  io::write_safetensors(folder / "model.safetensors", contents);
}

LoadedModel load_language_model(const fs::path& folder) {
  std::error_code ignored;
  fs::path file = folder / "model.safetensors";
  const fs::path state = folder / "state.safetensors";
  if (!fs::exists(file, ignored) && fs::exists(state, ignored)) file = state;
  const io::Safetensors contents = io::read_safetensors(file);
  const auto json = contents.metadata.find("configuration");
  if (json == contents.metadata.end()) {
    throw IoError("[load] " + file.string() + ": expected a configuration of `grouphead train`");
  }
  LoadedModel loaded;
  loaded.config = config_from_json(json->second, "[load] " + file.string() + ": configuration");
  require_config_agrees(folder / "config.json", loaded.config);
  require_plausible(loaded.config, contents, file);
  try {
    loaded.model = std::make_unique<LanguageModel>(language_model_config(loaded.config));
  } catch (const ConfigError& error) {
    throw IoError("[load] " + file.string() + ": configuration: " + error.what());
  }
  const ParameterList parameters = loaded.model->parameters();
  require_parameters(contents, file, "", parameters);
  for (const auto& [path, parameter] : parameters) copy(contents.at(path), parameter->edit());
  return loaded;
}

}  // namespace grouphead::saved
