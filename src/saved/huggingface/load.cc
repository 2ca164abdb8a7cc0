#include <algorithm>
#include <array>
#include <set>

#include "grouphead/files/pretrained.h"
#include "io/json.h"
#include "nn/loading_scope.h"
#include "saved/huggingface/folder.h"
#include "saved/huggingface/weights.h"
#include "saved/model_folder.h"

namespace grouphead {
namespace {

namespace fs = std::filesystem;
using saved::FolderTensors;
using saved::WeightRule;

constexpr std::string_view kOperation = "[load_pretrained] ";

/// Buffers that older versions of transformers stored: masks, frequencies, numbers of positions.
constexpr std::string_view kBuffers[] = {".attn.bias",
                                         ".attn.masked_bias",
                                         ".attention.bias",
                                         ".attention.masked_bias",
                                         "rotary_emb.inv_freq",
                                         "embeddings.position_ids",
                                         "embeddings.token_type_ids"};
/// Heads of tasks that the model does without.
constexpr std::string_view kHeads[] = {
    "classifier.",     "cls.",        "embed_out.", "lm_head.",          "pooler.",
    "pre_classifier.", "qa_outputs.", "score.",     "vocab_layer_norm.", "vocab_projector.",
    "vocab_transform."};

bool is_buffer(std::string_view name) {
  return std::any_of(std::begin(kBuffers), std::end(kBuffers),
                     [&](std::string_view end) { return name.ends_with(end); });
}

bool is_head(std::string_view name, std::string_view prefix) {
  if (name.starts_with(prefix)) name.remove_prefix(prefix.size());
  return std::any_of(std::begin(kHeads), std::end(kHeads),
                     [&](std::string_view start) { return name.starts_with(start); });
}

/// The names that a tensor may have in a file: without the prefix where only the base model was
/// saved, and with the words that BERT's first files have for a norm's.
std::vector<std::string> candidates(const std::string& name, std::string_view prefix) {
  std::vector<std::string> names{name};
  if (!prefix.empty() && name.starts_with(prefix)) names.push_back(name.substr(prefix.size()));
  constexpr std::array<std::array<std::string_view, 2>, 2> kOldWords = {
      {{"LayerNorm.weight", "LayerNorm.gamma"}, {"LayerNorm.bias", "LayerNorm.beta"}}};
  for (std::size_t i = names.size(); i-- > 0;) {
    for (const auto& [now, before] : kOldWords) {
      if (!names[i].ends_with(now)) continue;
      names.push_back(names[i].substr(0, names[i].size() - now.size()).append(before));
    }
  }
  return names;
}

bool is_floating(const std::string& dtype) {
  return dtype == "f32" || dtype == "bf16" || dtype == "f16" || dtype == "f64";
}

std::string text_of(const std::vector<Index>& shape) {
  return ConfigValue(ConfigValue::List(shape.begin(), shape.end())).to_string();
}

/// Finds each rule's tensor in the folder.
class Matching {
 public:
  Matching(const FolderTensors& tensors, std::string_view prefix)
      : tensors_(tensors), prefix_(prefix) {
    for (std::string& name : tensors.names()) unused_.insert(std::move(name));
  }

  /// The rule's name in the folder; empty where there is a problem.
  std::string find(const WeightRule& rule) {
    for (const std::string& name : candidates(rule.name, prefix_)) {
      const io::StoredTensor* stored = tensors_.find(name);
      if (stored == nullptr) continue;
      unused_.erase(name);
      const std::vector<Index> wanted(rule.shape.begin(), rule.shape.end());
      if (!stored->problem.empty()) return problem(name + ": " + stored->problem);
      if (!is_floating(stored->dtype) || stored->shape != wanted) {
        return problem(name + ": expected numbers " + text_of(wanted) + ", got " + stored->dtype +
                       " " + text_of(stored->shape));
      }
      return name;
    }
    return problem(rule.name + ": missing");
  }

  /// What was not asked for. Errors: IoError for what has no reason to be there.
  std::vector<std::string> unused(const TransformerModelConfig& config, const std::string& where) {
    std::vector<std::string> names(unused_.begin(), unused_.end());
    for (const std::string& name : names) {
      const bool may_have_head = !config.head || config.tied_head;
      if (!is_buffer(name) && !(may_have_head && is_head(name, prefix_))) {
        problem(name + ": not part of such a model");
      }
    }
    saved::throw_problems(where, problems_);
    return names;
  }

 private:
  std::string problem(std::string text) {
    constexpr std::size_t kMost = 20;
    if (problems_.size() < kMost) {
      problems_.push_back(std::move(text));
    } else if (problems_.size() == kMost) {
      problems_.emplace_back("and more");
    }
    return {};
  }

  const FolderTensors& tensors_;
  std::string_view prefix_;
  std::set<std::string> unused_;
  std::vector<std::string> problems_;
};

/// The table of names that more of the folder's tensors go by.
std::vector<WeightRule> rules_of(const saved::Described& described, const TransformerModel& model,
                                 const FolderTensors& tensors) {
  const auto found = [&](const std::vector<WeightRule>& rules) {
    Index count = 0;
    for (const WeightRule& rule : rules) {
      for (const std::string& name : candidates(rule.name, described.names.prefix)) {
        if (tensors.find(name) != nullptr) ++count;
      }
    }
    return count;
  };
  const auto make = [&](const saved::WeightNames& names) {
    return saved::weight_rules(described.config, names, model.parameters());
  };
  std::vector<WeightRule> rules = make(described.names);
  if (!described.names_in_memory) return rules;
  std::vector<WeightRule> others = make(*described.names_in_memory);
  return found(others) > found(rules) ? others : rules;
}

// Each tensor is read once, for all of its parameters: what is not aligned in the file is a copy.
void fill(TransformerModel& model, const FolderTensors& tensors,
          std::vector<std::pair<WeightRule, std::string>> places) {
  std::map<std::string, Parameter*> parameters;
  for (const NamedParameter& one : model.parameters()) parameters.emplace(one.path, one.parameter);
  std::map<std::string, std::size_t> order;  // of the tensors
  for (const auto& [rule, name] : places) order.emplace(name, order.size());
  std::stable_sort(places.begin(), places.end(), [&](const auto& a, const auto& b) {
    return order.at(a.second) < order.at(b.second);
  });
  std::string read;
  std::shared_ptr<const Tensor> tensor;
  for (const auto& [rule, name] : places) {
    if (tensor == nullptr || name != read) {
      tensor = std::make_shared<const Tensor>(tensors.read(name));
      read = name;
    }
    if (!saved::are_copies_alike(rule, *tensor)) {
      throw IoError(std::string(kOperation) + name + ": expected heads that are repeated, as " +
                    std::string(saved::kSharedHeads) +
                    " of config.json says, got others; without that key each is read for itself");
    }
    Parameter& parameter = *parameters.at(rule.path);
    const std::optional<ConstView> shared =
        saved::shared_weight(rule, tensor->view(), parameter.shape());
    if (shared) {
      parameter.share(*shared, tensor);
    } else {
      saved::take_weight(rule, *tensor, parameter.edit());
    }
  }
}

// config.json; or what a save meant to write there that was killed between its two files: then the
// weights, which name it, are younger.
ConfigValue read_config(const fs::path& folder, const FolderTensors& tensors) {
  const fs::path file = folder / saved::kConfigName;
  const std::string stated = tensors.metadata("config");
  if (stated.empty()) return saved::read_json(file);
  const fs::path weights = folder / saved::kWeightsName;
  std::error_code error;
  const auto written = fs::last_write_time(file, error);
  if (error || written < fs::last_write_time(weights, error)) {
    return io::parse_json(stated, weights.string() + ": config");
  }
  return saved::read_json(file);
}

}  // namespace

PretrainedModel load_pretrained(const fs::path& folder, const LoadPretrainedConfig& options) {
  const fs::path config_file = folder / saved::kConfigName;
  std::error_code ignored;
  if (!fs::is_directory(folder, ignored)) {
    throw IoError(std::string(kOperation) + folder.string() + ": expected a folder");
  }
  const FolderTensors tensors(folder);
  PretrainedModel loaded;
  loaded.config = read_config(folder, tensors);
  saved::FamilyModel found = saved::describe(loaded.config, config_file.string());
  loaded.family = found.family;
  TransformerModelConfig& config = found.described.config;
  config.dtype = options.dtype;
  config.name = found.family;
  if (options.eager_alibi && found.family == "falcon") {
    for (double& slope : config.attention.alibi_slopes) slope *= 2;
  }
  const auto num_tensors = static_cast<Index>(tensors.names().size());
  if (config.num_layers > num_tensors) {
    throw IoError(std::string(kOperation) + config_file.string() + ": expected layers that " +
                  std::to_string(num_tensors) + " tensors can fill, got " +
                  std::to_string(config.num_layers));
  }
  try {
    // Twice as many as there are, so that a missing tensor is named below.
    const nn::LoadingScope scope(2 * tensors.num_elements());
    loaded.model = std::make_shared<TransformerModel>(config);
  } catch (const ConfigError& error) {
    throw IoError(std::string(kOperation) + config_file.string() + ": " + error.what());
  }
  const std::string_view prefix = found.described.names.prefix;
  Matching matching(tensors, prefix);
  std::vector<std::pair<WeightRule, std::string>> places;
  for (WeightRule& rule : rules_of(found.described, *loaded.model, tensors)) {
    std::string name = matching.find(rule);
    places.emplace_back(std::move(rule), std::move(name));
  }
  loaded.unused = matching.unused(config, std::string(kOperation) + folder.string());
  fill(*loaded.model, tensors, std::move(places));
  return loaded;
}

PretrainedModel make_pretrained(const ConfigValue& config, std::uint64_t seed,
                                const DtypePolicy& dtype) {
  PretrainedModel made;
  saved::FamilyModel found = saved::describe(config, "config");
  made.config = config;
  made.family = found.family;
  found.described.config.seed = seed;
  found.described.config.dtype = dtype;
  found.described.config.name = found.family;
  try {
    made.model = std::make_shared<TransformerModel>(found.described.config);
  } catch (const ConfigError& error) {
    throw IoError(std::string(kOperation) + "config: " + error.what());
  }
  return made;
}

}  // namespace grouphead
