#include "saved/keras_store.h"

#include <set>

#include "io/file.h"
#include "io/json.h"
#include "ops/convert.h"

namespace grouphead::saved {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kVariables = "vars";
// What TF-Keras 2.13 calls the lists of layers.
constexpr std::string_view kOldLayers = "_layer_checkpoint_dependencies";
constexpr std::string_view kLayers = "layers";

std::string with_new_names(std::string path) {
  for (std::size_t at = 0; (at = path.find(kOldLayers, at)) != std::string::npos;) {
    path.replace(at, kOldLayers.size(), kLayers);
  }
  return path;
}

/// `layers/dense` of `layers/dense/vars/0`; nothing for arrays that are no variables.
bool split(const std::string& path, std::string& object, std::string& key) {
  const std::size_t last = path.rfind('/');
  if (last == std::string::npos) return false;
  const std::string group = path.substr(0, last);
  const std::size_t before = group.rfind('/');
  if (group.substr(before == std::string::npos ? 0 : before + 1) != kVariables) return false;
  object = before == std::string::npos ? "" : group.substr(0, before);
  key = path.substr(last + 1);
  return true;
}

/// The files' names in the order of the list.
std::vector<std::string> files_of(const ConfigValue& list, const std::string& where) {
  std::vector<std::string> names;
  std::set<std::string> known;
  const auto add = [&](const std::string& name) {
    if (name.empty() || fs::path(name).filename() != fs::path(name) || name == "..") {
      throw IoError(where + ": weight_map: expected names of files beside it, got " + name);
    }
    if (known.insert(name).second) names.push_back(name);
  };
  for (const auto& [group, files] : list["weight_map"].as_object("weight_map")) {
    if (!files.is_list()) {
      add(files.as_string(group));
      continue;
    }
    for (const ConfigValue& file : files.as_list(group)) add(file.as_string(group));
  }
  return names;
}

}  // namespace

Index parameter_elements(const io::Hdf5Dataset& dataset) {
  const bool is_counter = dataset.dtype == Dtype::i32 && dataset.shape.rank() == 0;
  const bool counts =
      dataset.problem.empty() && (dataset.is_int8 || is_counter || ops::is_floating(dataset.dtype));
  const Index in_one = dataset.is_int8 && dataset.shape.rank() == 2 ? 2 : 1;  // two of 4 bits
  return counts ? in_one * dataset.shape.size() : 0;
}

std::shared_ptr<io::Hdf5File> open_hdf5(const fs::path& path) {
  io::require_data(path);
  const std::shared_ptr<io::MappedFile> mapped = io::MappedFile::open(path);
  return std::make_shared<io::Hdf5File>(mapped->bytes(), mapped, path.string());
}

KerasStore KerasStore::sharded(const fs::path& list) {
  const std::string where = "[load] " + list.string();
  KerasStore store;
  try {
    const std::string text = io::read_file(list);
    const ConfigValue read =
        io::parse_json(text, list.string(), io::JsonLimits::of_file(text.size()));
    for (const std::string& name : files_of(read, where)) {
      store.add(open_hdf5(list.parent_path() / name));
    }
  } catch (const ConfigError& error) {
    throw IoError(where + ": " + error.what());
  }
  return store;
}

void KerasStore::add(std::shared_ptr<io::Hdf5File> file) {
  for (const auto& [path, dataset] : file->datasets()) {
    num_elements_ += parameter_elements(dataset);
    std::string object;
    std::string key;
    if (!split(path, object, key)) continue;
    const bool is_new =
        objects_[with_new_names(object)].emplace(key, KerasArray{file.get(), path}).second;
    if (!is_new) {
      throw IoError("[load] " + file->name() + ": " + path + ": another file has this array too");
    }
  }
  files_.push_back(std::move(file));
}

const std::map<std::string, KerasArray>* KerasStore::arrays_of(const std::string& object) const {
  const auto found = objects_.find(object);
  return found == objects_.end() ? nullptr : &found->second;
}

}  // namespace grouphead::saved
