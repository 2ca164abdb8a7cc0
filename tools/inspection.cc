#include "tools/inspection.h"

#include <algorithm>
#include <limits>

#include "grouphead/files/tensors.h"
#include "grouphead/models/model.h"
#include "models/cost.h"
#include "saved/keras_files.h"
#include "saved/model_folder.h"
#include "tools/hub_folder.h"

namespace grouphead::tools {
namespace {

namespace fs = std::filesystem;

ConfigValue tensor_entry(const std::string& path, const std::string& dtype, ConfigValue shape) {
  return ConfigValue::Object{
      {"path", path}, {"dtype", dtype.empty() ? "unknown" : dtype}, {"shape", std::move(shape)}};
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
    constexpr Index kMost = Index{1} << 20;  // more is no layer, and products have to fit
    const Index value = config[key].is_integer() ? config[key].as_integer(key) : 0;
    return value <= kMost ? value : 0;
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
    tensors.push_back(tensor_entry(array.path, array.dtype, ConfigValue(array.shape)));
    numbers += array.shape.size();
  }
  if (!contents.config.is_null()) {
    made.set("model", model_entry(contents.config, contents.parameter_elements));
  }
  set_tensors(made, std::move(tensors), numbers);
}

/// Elements of a tensor of any number of axes; 0 where they are more than a file can have.
Index elements_of(const std::vector<Index>& shape) {
  Index elements = 1;
  for (const Index size : shape) {
    if (size > 0 && elements > std::numeric_limits<Index>::max() / size) return 0;
    elements *= size;
  }
  return elements;
}

void read_tensor_file(const fs::path& file, ConfigValue& made) {
  const TensorFile opened(file);
  made.set("format", file.extension().string().substr(1));
  ConfigValue::List tensors;
  Index numbers = 0;
  for (const TensorInfo& info : opened.tensors()) {
    const ConfigValue::List shape(info.shape.begin(), info.shape.end());
    ConfigValue entry = tensor_entry(info.name, info.dtype, shape);
    if (!info.problem.empty()) entry.set("problem", info.problem);
    if (info.problem.empty()) numbers += elements_of(info.shape);
    tensors.push_back(std::move(entry));
  }
  set_tensors(made, std::move(tensors), numbers);
}

void read_folder(const fs::path& folder, ConfigValue& made) {
  const saved::LoadedModel loaded = saved::read_model_folder(folder);
  made.set("format", "folder");
  ConfigValue settings = ConfigValue::Object{};
  if (loaded.training) {
    for (const saved::Setting& setting : saved::settings_of(*loaded.training)) {
      settings.set(setting.name, setting.value);
    }
  } else {
    const ConfigValue config = loaded.model->get_config();
    for (const auto& [key, value] : config.as_object("config")) {
      settings.set(key, value.is_string() ? value : ConfigValue(value.to_string()));
    }
  }
  made.set("settings", std::move(settings));
  ConfigValue::List tensors;
  const auto parameters = loaded.model->parameters();
  for (const auto& [path, parameter] : parameters) {
    tensors.push_back(tensor_entry(path, std::string(name_of(parameter->dtype())),
                                   ConfigValue(parameter->shape())));
  }
  made.set("model", ConfigValue::Object{{"name", folder.filename().string()},
                                        {"class", loaded.model->class_name()},
                                        {"layers", ConfigValue::List{}},
                                        {"parameters", count_elements(parameters)},
                                        {"kv_cache", cached_elements(*loaded.model)}});
  set_tensors(made, std::move(tensors), count_elements(parameters));
}

// Tensors have their names in the files, config.json's entries are the settings.
void read_hub(const fs::path& folder, ConfigValue& made) {
  const HubFolder found = read_hub_folder(folder);
  made.set("format", "Hugging Face folder");
  ConfigValue settings = ConfigValue::Object{};
  for (const auto& [key, value] : found.config.as_object("config")) {
    settings.set(key, value.is_string() ? value : ConfigValue(value.to_string()));
  }
  made.set("settings", std::move(settings));
  ConfigValue model = ConfigValue::Object{{"name", folder.filename().string()},
                                          {"class", found.family},
                                          {"layers", ConfigValue::List{}},
                                          {"parameters", found.elements}};
  model.set("kv_cache", found.model ? cached_elements(*found.model) : 0);
  if (!found.problem.empty()) model.set("problem", found.problem);
  made.set("model", std::move(model));
  ConfigValue::List tensors;
  for (const HubFolder::Entry& one : found.tensors) {
    tensors.push_back(
        tensor_entry(one.name, one.dtype, ConfigValue::List(one.shape.begin(), one.shape.end())));
    if (!one.problem.empty()) tensors.back().set("problem", one.problem);
  }
  set_tensors(made, std::move(tensors), found.elements);
}

}  // namespace

ConfigValue inspect(const fs::path& file) {
  ConfigValue made = ConfigValue::Object{{"file", file.string()}};
  const std::string extension = file.extension().string();
  std::error_code reason;
  if (!fs::exists(file, reason)) {
    if (!reason) reason = std::make_error_code(std::errc::no_such_file_or_directory);
    throw IoError("[inspect] " + file.string() + ": " + reason.message());
  }
  try {
    if (saved::is_pretrained_folder(file)) {
      read_hub(file, made);
    } else if (fs::is_directory(file)) {
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
