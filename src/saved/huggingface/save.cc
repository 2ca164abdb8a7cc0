#include <map>
#include <set>

#include "grouphead/core/tensor_functions.h"
#include "grouphead/files/pretrained.h"
#include "io/file.h"
#include "io/json.h"
#include "io/safetensors.h"
#include "saved/huggingface/folder.h"
#include "saved/huggingface/weights.h"
#include "saved/output_folder.h"

namespace grouphead {
namespace {

namespace fs = std::filesystem;

/// What the file calls a tensor: models without a head are saved without the prefix.
std::string written_name(const std::string& name, std::string_view prefix, bool has_head) {
  const bool is_cut = !has_head && name.starts_with(prefix);
  return is_cut ? name.substr(prefix.size()) : name;
}

/// config.json as it is after saving: of f32 numbers, and of a class with what was saved.
ConfigValue written_config(const PretrainedModel& pretrained) {
  constexpr std::string_view kClasses = "architectures";
  ConfigValue config = pretrained.config;
  config.set("dtype", "float32");
  if (config.contains("torch_dtype")) config.set("torch_dtype", "float32");
  const ConfigValue& classes = config[kClasses];
  if (pretrained.model->config().head || !classes.is_list()) return config;
  ConfigValue::List bases;
  for (const ConfigValue& one : classes.as_list(kClasses)) {
    std::string name = one.is_string() ? one.as_string(kClasses) : std::string();
    if (const std::size_t task = name.find("For"); task != std::string::npos) {
      name.replace(task, std::string::npos, "Model");
    }
    bases.emplace_back(std::move(name));
  }
  config.set(kClasses, std::move(bases));
  return config;
}

// The shards of the model that was in the folder before, which its index lists.
void remove_shards(const fs::path& folder) {
  const fs::path index_file = folder / saved::kIndexName;
  std::error_code ignored;
  if (!fs::exists(index_file, ignored)) return;
  std::set<std::string> shards;
  try {
    const ConfigValue index = saved::read_json(index_file);
    for (const auto& [name, file] : index["weight_map"].as_object("weight_map")) {
      if (file.is_string()) shards.insert(file.as_string(name));
    }
  } catch (const Error&) {
    shards.clear();  // what is not an index lists nothing of ours
  }
  fs::remove(index_file, ignored);
  for (const std::string& shard : shards) {
    const bool is_shard = shard.starts_with("model-") && shard.ends_with(".safetensors") &&
                          shard.find('/') == std::string::npos;
    if (is_shard) fs::remove(folder / shard, ignored);
  }
}

}  // namespace

std::map<std::string, Tensor> pretrained_tensors(const PretrainedModel& pretrained,
                                                 const std::map<std::string, ConstView>& given,
                                                 PretrainedNames which) {
  const TransformerModel& model = *pretrained.model;
  const saved::FamilyModel found = saved::describe(pretrained.config, "config");
  const saved::Described& described = found.described;
  const saved::WeightNames names = which == PretrainedNames::in_memory
                                       ? described.names_in_memory.value_or(described.names)
                                       : described.names;
  std::map<std::string, ConstView> numbers = given;
  if (given.empty()) {
    for (const NamedConstParameter& one : model.parameters()) {
      numbers.emplace(one.path, one.parameter->value());
    }
  }
  std::map<std::string, Tensor> tensors;
  for (const saved::WeightRule& rule :
       saved::weight_rules(model.config(), names, model.parameters())) {
    const auto value = numbers.find(rule.path);
    if (value == numbers.end()) {
      throw ShapeError("[pretrained_tensors] " + rule.path + ": expected a tensor, got none");
    }
    Tensor& tensor = tensors[written_name(rule.name, names.prefix, model.config().head)];
    if (!tensor.has_value()) tensor = Tensor::zeros(rule.shape, value->second.dtype());
    saved::put_weight(rule, value->second, tensor);
  }
  return tensors;
}

void saved::write_pretrained(const PretrainedModel& pretrained, const fs::path& folder) {
  const std::string config = io::json_text(written_config(pretrained), 2) + "\n";
  io::Safetensors contents;
  contents.metadata = {{"format", "pt"}, {"config", config}};
  for (auto& [name, tensor] : pretrained_tensors(pretrained)) {
    contents.tensors.emplace(name,
                             tensor.dtype() == Dtype::f32 ? tensor : cast(tensor, Dtype::f32));
  }
  // The weights first, with the configuration: a reader that finds another config.json beside them
  // knows that the second file is missing.
  io::write_safetensors(folder / saved::kWeightsName, contents);
  io::write_file(folder / saved::kConfigName, config);
  remove_shards(folder);
}

void save_pretrained(const PretrainedModel& pretrained, const fs::path& folder) {
  saved::OutputFolder output(folder, "save_pretrained");
  saved::write_pretrained(pretrained, folder);
  output.keep();
}

}  // namespace grouphead
