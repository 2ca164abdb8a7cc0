#pragma once

// What a Hugging Face folder holds, before a model is made of it.

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "grouphead/files/pretrained.h"
#include "io/stored_tensors.h"
#include "saved/huggingface/family.h"

namespace grouphead::saved {

inline constexpr std::string_view kConfigName = "config.json";
inline constexpr std::string_view kWeightsName = "model.safetensors";
/// The key of config.json for key/value heads that several query heads share, in families that have
/// no key of their own. The weights repeat each, so that transformers, which does not know the key,
/// computes the same.
inline constexpr std::string_view kSharedHeads = "grouphead_key_value_heads";
inline constexpr std::string_view kIndexName = "model.safetensors.index.json";

/// The tensors of a folder's file or shards. Threads: one at a time.
class FolderTensors {
 public:
  /// Errors: IoError for files that are missing, damaged, or disagree with their index, and for
  /// weights in a form that is not read.
  explicit FolderTensors(const std::filesystem::path& folder);

  /// By name. Null: there is none.
  const io::StoredTensor* find(const std::string& name) const;
  std::vector<std::string> names() const;
  Tensor read(const std::string& name) const { return files_.at(where_.at(name)).read(name); }
  /// Elements of all floating tensors.
  Index num_elements() const;
  /// The text under this key beside the tensors of a single file; empty where there is none.
  std::string metadata(const std::string& key) const;

 private:
  void open_shards(const std::filesystem::path& folder, const ConfigValue& index);

  std::map<std::string, io::StoredTensors> files_;  // by the file's name
  std::map<std::string, std::string> where_;        // the file of each tensor
};

/// The JSON of a file of bounded size. Errors: IoError.
ConfigValue read_json(const std::filesystem::path& file);

/// What config.json describes. `where` is for messages. Errors: IoError.
struct FamilyModel {
  std::string family{};
  Described described{};
};
FamilyModel describe(const ConfigValue& config, const std::string& where);

/// save_pretrained() into a folder that is there. Errors: IoError.
void write_pretrained(const PretrainedModel& pretrained, const std::filesystem::path& folder);

}  // namespace grouphead::saved
