#include "tools/inspection.h"

#include <algorithm>

#include "grouphead/models/model.h"
#include "saved/keras_files.h"
#include "saved/model_folder.h"
#include "tools/tensor_file.h"

namespace grouphead::tools {
namespace {

namespace fs = std::filesystem;

ConfigValue tensor_entry(const std::string& path, const std::string& dtype, const Shape& shape) {
  return ConfigValue::Object{
      {"path", path}, {"dtype", dtype.empty() ? "unknown" : dtype}, {"shape", ConfigValue(shape)}};
}

/// Adds the tensors, and how many numbers they have.
void set_tensors(ConfigValue& made, ConfigValue::List tensors, Index numbers) {
  made.set("numbers", numbers);
  made.set("tensors", std::move(tensors));
}

// ---- Architecture ------------------------------------------------------------------------------

/// The layers that calls take tensors from, each once.
void find_sources(const ConfigValue& value, ConfigValue::List& sources) {
  if (value.is_list()) {
    for (const ConfigValue& entry : value.as_list("inbound_nodes")) find_sources(entry, sources);
    return;
  }
  if (!value.is_object()) return;
  const ConfigValue& history = value["config"]["keras_history"];
  if (value["class_name"] == ConfigValue("__keras_tensor__") && history.is_list() &&
      !history.as_list("keras_history").empty()) {
    const ConfigValue& layer = history.as_list("keras_history")[0];
    if (std::find(sources.begin(), sources.end(), layer) == sources.end()) sources.push_back(layer);
    return;
  }
  for (const auto& [key, entry] : value.as_object("inbound_nodes")) find_sources(entry, sources);
}

/// Numbers that a KV cache holds for each token: those of keys and values of all their heads.
Index cached_numbers(const ConfigValue& class_name, const ConfigValue& config) {
  const auto number = [&](std::string_view key) {
    return config[key].is_integer() ? config[key].as_integer(key) : 0;
  };
  if (class_name == ConfigValue("GroupQueryAttention")) {
    return 2 * number("num_key_value_heads") * number("head_dim");
  }
  if (class_name == ConfigValue("MultiHeadAttention")) {
    const Index value_dim = number("value_dim");
    return number("num_heads") *
           (number("key_dim") + (value_dim > 0 ? value_dim : number("key_dim")));
  }
  return 0;
}

/// A model's entry; `made` is null where this library cannot make it.
class ArchitectureReader {
 public:
  ConfigValue read(const ConfigValue& envelope, const Model* made) {
    const ConfigValue& config = envelope["config"];
    ConfigValue::List layers;
    Index cached = 0;
    if (config["layers"].is_list()) {
      for (const ConfigValue& entry : config["layers"].as_list("layers")) {
        layers.push_back(read_layer(entry, made));
        const ConfigValue& numbers = layers.back()["kv_cache"];
        cached += numbers.is_integer() ? numbers.as_integer("kv_cache") : 0;
      }
    }
    ConfigValue out = ConfigValue::Object{
        {"name", config["name"]}, {"class", envelope["class_name"]}, {"layers", std::move(layers)}};
    if (made != nullptr) out.set("parameters", count_params(*made));
    out.set("kv_cache", cached);
    return out;
  }

 private:
  ConfigValue read_layer(const ConfigValue& entry, const Model* made) {
    const ConfigValue& config = entry["config"];
    const ConfigValue& name = entry.contains("name") ? entry["name"] : config["name"];
    ConfigValue out = ConfigValue::Object{{"name", name}, {"class", entry["class_name"]}};
    const std::shared_ptr<Layer> layer = made != nullptr ? find_layer(*made, name) : nullptr;
    const auto* inner = dynamic_cast<const Model*>(layer.get());
    if (config["layers"].is_list()) out = read(entry, inner);
    ConfigValue::List sources;
    find_sources(entry["inbound_nodes"], sources);
    out.set("from", std::move(sources));
    if (layer == nullptr) return out;
    out.set("parameters", count_params(*layer));
    ConfigValue::List shapes;
    const Outputs outputs = made->outputs_of(layer->name());
    for (const Symbol& output : outputs.symbols()) shapes.emplace_back(output.shape());
    out.set("shapes", std::move(shapes));
    if (inner != nullptr) return out;
    if (const Index cached = cached_numbers(entry["class_name"], config); cached > 0) {
      out.set("kv_cache", cached);
    }
    return out;
  }

  static std::shared_ptr<Layer> find_layer(const Model& model, const ConfigValue& name) {
    if (!name.is_string() || !model.has_graph()) return nullptr;
    for (const std::shared_ptr<Layer>& layer : model.layers()) {
      if (layer->name() == name.as_string("name")) return layer;
    }
    return nullptr;
  }
};

ConfigValue model_entry(const ConfigValue& config, Index elements) {
  std::shared_ptr<Model> made;
  std::string problem;
  try {
    made = saved::architecture(config, elements);
  } catch (const Error& error) {
    problem = error.what();
  }
  ConfigValue out = ArchitectureReader().read(config, made.get());
  if (!problem.empty()) out.set("problem", problem);
  return out;
}

// ---- Kinds of files ----------------------------------------------------------------------------

void read_keras(const fs::path& file, ConfigValue& made) {
  const saved::KerasContents contents = saved::read_keras_contents(file);
  made.set("format", contents.format);
  if (!contents.keras_version.empty()) made.set("keras_version", contents.keras_version);
  ConfigValue::List tensors;
  Index numbers = 0;
  for (const auto& array : contents.arrays) {
    tensors.push_back(tensor_entry(array.path, array.dtype, array.shape));
    numbers += array.shape.size();
  }
  if (!contents.config.is_null()) made.set("model", model_entry(contents.config, numbers));
  set_tensors(made, std::move(tensors), numbers);
}

void read_tensor_file(const fs::path& file, ConfigValue& made) {
  made.set("format", file.extension().string().substr(1));
  ConfigValue::List tensors;
  Index numbers = 0;
  for (const auto& [name, tensor] : read_tensors(file)) {
    tensors.push_back(tensor_entry(name, std::string(name_of(tensor.dtype())), tensor.shape()));
    numbers += tensor.size();
  }
  set_tensors(made, std::move(tensors), numbers);
}

void read_folder(const fs::path& folder, ConfigValue& made) {
  const saved::LoadedModel loaded = saved::load_language_model(folder);
  made.set("format", "folder");
  ConfigValue settings = ConfigValue::Object{};
  for (const saved::Setting& setting : saved::settings_of(loaded.config)) {
    settings.set(setting.name, setting.value);
  }
  made.set("settings", std::move(settings));
  const TransformerConfig config = language_model_config(loaded.config).transformer;
  const Index head = config.hidden_size / config.num_heads;
  ConfigValue::List tensors;
  const ParameterList parameters = loaded.model->parameters();
  for (const auto& [path, parameter] : parameters) {
    tensors.push_back(
        tensor_entry(path, std::string(name_of(parameter->dtype())), parameter->shape()));
  }
  made.set("model", ConfigValue::Object{
                        {"name", folder.filename().string()},
                        {"class", "LanguageModel"},
                        {"layers", ConfigValue::List{}},
                        {"parameters", count_elements(parameters)},
                        {"kv_cache", 2 * config.num_key_value_heads * head * config.num_layers}});
  set_tensors(made, std::move(tensors), count_elements(parameters));
}

}  // namespace

ConfigValue inspect(const fs::path& file) {
  ConfigValue made = ConfigValue::Object{{"file", file.string()}};
  const std::string extension = file.extension().string();
  try {
    if (fs::is_directory(file)) {
      read_folder(file, made);
    } else if (extension == ".keras" || extension == ".h5") {
      read_keras(file, made);
    } else {
      read_tensor_file(file, made);
    }
  } catch (const ConfigError& error) {
    throw IoError("[inspect] " + file.string() + ": " + error.what());
  }
  return made;
}

}  // namespace grouphead::tools
