#include "saved/keras_legacy.h"

#include <algorithm>

#include "grouphead/layers/serialization.h"
#include "io/json.h"

namespace grouphead::saved {
namespace {

constexpr const char* kModelWeights = "model_weights";
constexpr const char* kOptimizerWeights = "optimizer_weights";

[[noreturn]] void fail(const io::Hdf5File& file, const std::string& problem) {
  throw IoError("[load] " + file.name() + ": " + problem);
}

const io::Hdf5Texts& texts_of(const io::Hdf5File& file, const std::string& group) {
  const auto found = file.groups().find(group);
  if (found == file.groups().end()) fail(file, group + ": no such group");
  return found->second;
}

/// A long list goes in pieces `name0`, `name1`, ...
std::vector<std::string> list_of(const io::Hdf5File& file, const std::string& group,
                                 const std::string& name) {
  const io::Hdf5Texts& texts = texts_of(file, group);
  const auto whole = texts.find(name);
  if (whole != texts.end()) return whole->second;
  std::vector<std::string> list;
  for (int i = 0;; ++i) {
    const auto piece = texts.find(name + std::to_string(i));
    if (piece == texts.end()) return list;
    list.insert(list.end(), piece->second.begin(), piece->second.end());
  }
}

ConfigValue json_of(const io::Hdf5File& file, const std::string& name) {
  const io::Hdf5Texts& texts = texts_of(file, "");
  const auto found = texts.find(name);
  if (found == texts.end() || found->second.size() != 1) return {};
  const std::string& text = found->second[0];
  return io::parse_json(text, file.name() + ": " + name, io::JsonLimits::of_file(text.size()));
}

/// Whether an entry of a model's layers is an operation, which these files do not tell from a layer
/// of its class's name: only layers say of themselves whether they are trained, and in which type.
bool is_operation(const ConfigValue& entry) {
  const ConfigValue& config = entry["config"];
  return !entry.contains("module") && config.is_object() && !config.contains("trainable") &&
         !config.contains("dtype") && !config.contains("layers") &&
         entry["class_name"] != ConfigValue("InputLayer");
}

/// The entry with the module that a `.keras` file has of an operation.
ConfigValue with_module(const ConfigValue& entry) {
  for (const char* module :
       {"keras.src.ops.numpy", "keras.src.ops.nn", "keras.src.ops.core", "keras.src.ops.math",
        "keras.src.ops.linalg", "keras.src.ops.einops"}) {
    ConfigValue made = entry;
    made.set("module", module);
    if (has_layer(made)) return made;
  }
  return entry;
}

ConfigValue with_operations(const ConfigValue& model) {
  if (!model["config"].is_object() || !model["config"]["layers"].is_list()) return model;
  ConfigValue::List entries;
  for (const ConfigValue& entry : model["config"]["layers"].as_list("layers")) {
    entries.push_back(is_operation(entry) ? with_module(entry) : with_operations(entry));
  }
  ConfigValue config = model["config"];
  config.set("layers", std::move(entries));
  ConfigValue made = model;
  made.set("config", std::move(config));
  return made;
}

/// The arrays that a group lists.
std::vector<KerasArray> arrays_of(const io::Hdf5File& file, const std::string& group) {
  std::vector<KerasArray> arrays;
  for (const std::string& name : list_of(file, group, "weight_names")) {
    const std::string path = group + "/" + name;
    file.dataset(path);  // is there
    arrays.push_back({&file, path});
  }
  return arrays;
}

// Trained ones first.
std::vector<Parameter*> parameters_of(Layer& layer) {
  std::vector<Parameter*> parameters;
  for (const NamedParameter& named : layer.parameters()) parameters.push_back(named.parameter);
  std::stable_partition(parameters.begin(), parameters.end(),
                        [](const Parameter* parameter) { return parameter->trainable(); });
  return parameters;
}

/// What Keras calls the layers of a model.
std::vector<std::shared_ptr<Layer>> layers_with_parameters(Layer& layer) {
  std::vector<std::shared_ptr<Layer>> layers;
  if (const auto* model = dynamic_cast<Model*>(&layer)) layers = model->layers();
  std::erase_if(layers, [](const auto& each) { return each->parameters().empty(); });
  return layers;
}

}  // namespace

bool has_legacy_model(const io::Hdf5File& file) {
  return texts_of(file, "").contains("model_config");
}

std::string legacy_version(const io::Hdf5File& file) {
  const std::vector<std::string> version = list_of(file, "", "keras_version");
  return version.empty() ? "" : version[0];
}

ConfigValue legacy_model_config(const io::Hdf5File& file) {
  const ConfigValue config = json_of(file, "model_config");
  if (config.is_null()) fail(file, "expected a whole model, got a file without model_config");
  return with_operations(config);
}

ConfigValue legacy_compile_config(const io::Hdf5File& file) {
  const ConfigValue config = json_of(file, "training_config");
  if (!config.is_object()) return {};
  ConfigValue made = config;
  made.set("optimizer", config["optimizer_config"]);
  return made;
}

void add_legacy_weights(const io::Hdf5File& file, Layer& model, WeightsToLoad& weights) {
  const bool is_whole = file.groups().contains(kModelWeights);
  const std::string root = is_whole ? kModelWeights : "";
  std::vector<std::pair<std::string, std::vector<KerasArray>>> saved;
  for (const std::string& name : list_of(file, root, "layer_names")) {
    std::vector<KerasArray> arrays = arrays_of(file, root.empty() ? name : root + "/" + name);
    if (!arrays.empty()) saved.emplace_back(name, std::move(arrays));
  }
  const std::vector<std::shared_ptr<Layer>> layers = layers_with_parameters(model);
  if (saved.size() != layers.size()) {
    fail(file, "weights: expected " + std::to_string(layers.size()) + " layers with arrays, got " +
                   std::to_string(saved.size()));
  }
  for (std::size_t i = 0; i < layers.size(); ++i) {
    weights.add(saved[i].first + " ('" + layers[i]->name() + "')", saved[i].second,
                parameters_of(*layers[i]));
  }
}

void add_legacy_state(const io::Hdf5File& file, Optimizer& optimizer, WeightsToLoad& weights) {
  if (!file.groups().contains(kOptimizerWeights)) return;
  std::vector<KerasArray> arrays = arrays_of(file, kOptimizerWeights);
  // A LossScaleOptimizer's own variables, of which this is the last, come before those it wraps.
  const auto last = std::find_if(arrays.begin(), arrays.end(), [](const KerasArray& array) {
    return array.path.ends_with("/dynamic_scale");
  });
  const bool fits = arrays.size() == optimizer.variables().size();
  if (!fits && last != arrays.end()) arrays.erase(arrays.begin(), last + 1);
  weights.add("optimizer", arrays, optimizer);
}

}  // namespace grouphead::saved
