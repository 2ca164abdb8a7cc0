#include "saved/huggingface/folder.h"

#include "io/file.h"
#include "io/json.h"
#include "io/safetensors.h"

namespace grouphead::saved {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void fail(const fs::path& file, const std::string& text) {
  throw IoError("[load_pretrained] " + file.string() + ": " + text);
}

bool is_there(const fs::path& file) {
  std::error_code ignored;
  return fs::exists(file, ignored);
}

/// A name inside the folder.
bool is_plain_name(const std::string& name) {
  return !name.empty() && name != "." && name != ".." && name.find('/') == std::string::npos &&
         name.find('\0') == std::string::npos;
}

// Weights that are not read, and why.
void refuse_other_forms(const fs::path& folder) {
  for (const char* name : {"pytorch_model.bin", "pytorch_model.bin.index.json"}) {
    if (!is_there(folder / name)) continue;
    fail(folder / name,
         "expected model.safetensors, got a pickle, which runs code of its maker when it is read; "
         "save the model again with safetensors");
  }
  for (const char* name : {"tf_model.h5", "flax_model.msgpack"}) {
    if (is_there(folder / name)) fail(folder / name, "expected model.safetensors");
  }
  fail(folder, "expected model.safetensors or model.safetensors.index.json, got neither");
}

bool ends_with_head(std::string_view architecture) {
  return architecture.ends_with("ForCausalLM") || architecture.ends_with("LMHeadModel");
}

// Whether there is a head; of decoders other tasks' heads are refused.
void set_head(HubConfig& config, TransformerModelConfig& model) {
  constexpr std::string_view kKey = "architectures";
  const ConfigValue& list = config.value(kKey);
  if (!model.causal || list.is_null()) return;
  if (!list.is_list() || list.as_list(kKey).size() != 1 || !list.as_list(kKey)[0].is_string()) {
    config.refuse(kKey, "one name of a class");
  }
  const std::string& name = list.as_list(kKey)[0].as_string(kKey);
  if (ends_with_head(name)) return;
  if (!name.ends_with("Model"))
    config.refuse(kKey, "a class with a language model's head, or none", name);
  model.head = model.tied_head = model.head_bias = false;
  model.logit_scale = 1;
  model.logit_softcap.reset();
}

void share_heads(HubConfig& config, Described& described) {
  if (!config.has(kSharedHeads)) return;
  if (!described.heads_key.empty()) {
    config.refuse(kSharedHeads, "none beside " + std::string(described.heads_key));
  }
  Index& heads = described.config.attention.num_key_value_heads;
  const Index shared = config.count({kSharedHeads}, heads);
  if (heads % shared != 0) config.refuse(kSharedHeads, "a divisor of " + std::to_string(heads));
  described.names.stored_key_value_heads = heads;
  if (described.names_in_memory) described.names_in_memory->stored_key_value_heads = heads;
  heads = shared;
}

}  // namespace

ConfigValue read_json(const fs::path& file) {
  const io::JsonLimits limits;
  const std::shared_ptr<io::MappedFile> mapped = io::MappedFile::open(file);
  if (mapped->text().size() > limits.bytes) {
    fail(file, "expected at most " + std::to_string(limits.bytes) + " bytes");
  }
  return io::parse_json(mapped->text(), file.string(), limits);
}

FolderTensors::FolderTensors(const fs::path& folder) {
  const std::string single(kWeightsName);
  if (is_there(folder / single)) {
    const auto added = files_.emplace(single, io::open_safetensors(folder / single)).first;
    for (const auto& [name, stored] : added->second.tensors) where_.emplace(name, single);
    return;
  }
  if (!is_there(folder / kIndexName)) refuse_other_forms(folder);
  open_shards(folder, read_json(folder / kIndexName));
}

void FolderTensors::open_shards(const fs::path& folder, const ConfigValue& index) {
  const fs::path index_file = folder / kIndexName;
  if (!index.is_object() || !index["weight_map"].is_object()) {
    fail(index_file, "weight_map: expected names of tensors and their files");
  }
  for (const auto& [name, file] : index["weight_map"].as_object("weight_map")) {
    const std::string shard = file.is_string() ? file.as_string("weight_map") : std::string();
    if (!is_plain_name(shard) || !shard.ends_with(".safetensors")) {
      fail(index_file, "weight_map: " + name + ": expected a .safetensors file beside it, got " +
                           file.to_string());
    }
    auto found = files_.find(shard);
    if (found == files_.end()) {
      found = files_.emplace(shard, io::open_safetensors(folder / shard)).first;
    }
    if (!found->second.contains(name)) {
      fail(index_file, "weight_map: " + name + ": not in " + shard);
    }
    where_.emplace(name, shard);
  }
}

const io::StoredTensor* FolderTensors::find(const std::string& name) const {
  const auto found = where_.find(name);
  return found == where_.end() ? nullptr : &files_.at(found->second).tensors.at(name);
}

std::vector<std::string> FolderTensors::names() const {
  std::vector<std::string> names;
  for (const auto& [name, file] : where_) names.push_back(name);
  return names;
}

Index FolderTensors::num_elements() const {
  Index elements = 0;
  for (const auto& [name, file] : where_) {
    const io::StoredTensor& stored = files_.at(file).tensors.at(name);
    if (stored.problem.empty()) elements += Shape(stored.shape).size();
  }
  return elements;
}

std::string FolderTensors::metadata(const std::string& key) const {
  const auto file = files_.find(std::string(kWeightsName));
  if (file == files_.end()) return {};
  const auto found = file->second.metadata.find(key);
  return found == file->second.metadata.end() ? std::string() : found->second;
}

FamilyModel describe(const ConfigValue& config, const std::string& where) {
  HubConfig reader("[load_pretrained] " + where, config);
  const std::string type = reader.text({"model_type"}, "");
  const Family* family = find_family(type);
  if (family == nullptr) {
    reader.refuse("model_type", "one of " + known_families(), type.empty() ? "none" : type);
  }
  FamilyModel found{.family = type, .described = family->describe(reader)};
  set_head(reader, found.described.config);
  share_heads(reader, found.described);
  reader.finish();
  return found;
}

}  // namespace grouphead::saved
