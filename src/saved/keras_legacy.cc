#include "saved/keras_legacy.h"

#include <algorithm>

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
  return io::parse_json(found->second[0], file.name() + ": " + name);
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
std::vector<Parameter*> parameters_of(const Layer& layer) {
  std::vector<Parameter*> parameters;
  for (const NamedParameter& named : layer.parameters()) parameters.push_back(named.parameter);
  std::stable_partition(parameters.begin(), parameters.end(),
                        [](const Parameter* parameter) { return parameter->trainable(); });
  return parameters;
}

/// What Keras calls the layers of a model.
std::vector<std::shared_ptr<Layer>> layers_with_parameters(const Layer& layer) {
  std::vector<std::shared_ptr<Layer>> layers;
  if (const auto* model = dynamic_cast<const Model*>(&layer)) layers = model->layers();
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
  return config;
}

ConfigValue legacy_compile_config(const io::Hdf5File& file) {
  const ConfigValue config = json_of(file, "training_config");
  if (!config.is_object()) return {};
  ConfigValue made = config;
  made.set("optimizer", config["optimizer_config"]);
  return made;
}

void add_legacy_weights(const io::Hdf5File& file, const Layer& model, WeightsToLoad& weights) {
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
  weights.add("optimizer", arrays_of(file, kOptimizerWeights), optimizer);
}

}  // namespace grouphead::saved
