#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "grouphead/core/config_value.h"
#include "grouphead/models/conversion.h"
#include "grouphead/models/transformer.h"

#pragma GCC visibility push(default)
namespace grouphead {

/// A model of a Hugging Face folder, and what it takes to write it back.
struct PretrainedModel {
  std::shared_ptr<TransformerModel> model{};
  std::string family{};  ///< model_type: `llama`, `bert`, ...
  ConfigValue config{};  ///< config.json
  /// Tensors of the files that the model does not have: heads of other tasks, and masks and
  /// frequencies that older files hold.
  std::vector<std::string> unused{};
};

struct LoadPretrainedConfig {
  /// Of the model, whatever the file's type: float32, float64, or mixed_bfloat16 for products of
  /// bf16 with weights, gradients and logits in f32.
  DtypePolicy dtype{};
  /// Of Falcon with ALiBi: with attn_implementation="eager" transformers 5.24 adds the biases
  /// twice, with its default once, as the models were trained. True: twice.
  bool eager_alibi = false;
};

/// The model of a folder that transformers' save_pretrained() wrote: config.json, and
/// model.safetensors or model.safetensors.index.json with its shards, in f32, bf16 or f16.
/// docs/huggingface.md lists the families.
///
/// Decoders give logits, encoders (and decoders saved without a head) the last hidden state.
/// Numbers are computed as `config.dtype` says, whatever type they are stored in.
///
/// Memory   the model's parameters; files are mapped, and read once
/// Errors   IoError that names the file: for one that is missing, damaged or not believed, for an
///          unknown family and for a setting that is not supported, for tensors that are missing or
///          of other sizes, and for tensors that nobody asked for
/// Source   transformers 5.24
PretrainedModel load_pretrained(const std::filesystem::path& folder,
                                const LoadPretrainedConfig& config = {});

/// A new model of a config.json's contents, with weights from `seed`, of a type as
/// LoadPretrainedConfig has it. Errors: IoError, as load_pretrained().
PretrainedModel make_pretrained(const ConfigValue& config, std::uint64_t seed = 0,
                                const DtypePolicy& dtype = {});

/// How tensors are named: as files have them, or as a model of transformers has them in memory,
/// which differs for few families (Mixtral's experts, GPT-NeoX's head).
enum class PretrainedNames : int { of_files, in_memory };

/// Parameters, or tensors in their place (gradients), under the names and in the shapes that the
/// family has; repeated heads each have them. `tensors` has one for each path of
/// model.parameters(); empty: the parameters.
/// Errors: ShapeError for a path without a tensor.
std::map<std::string, Tensor> pretrained_tensors(
    const PretrainedModel& pretrained, const std::map<std::string, ConstView>& tensors = {},
    PretrainedNames names = PretrainedNames::of_files);

/// The model with fewer key/value heads, and a configuration that says so: `num_key_value_heads`
/// where the family has it. GPT-2, OPT, BERT and the others whose classes in transformers have a
/// key/value head for each query head say `grouphead_key_value_heads`: their files repeat each head
/// for the query heads that share it. transformers computes the same of them, and
/// load_pretrained() takes each head once.
/// Errors: ConfigError, as convert_heads() of the model.
PretrainedModel convert_heads(const PretrainedModel& pretrained, const HeadConversion& conversion);

/// Writes config.json and model.safetensors (f32) into a folder, which is made where it is missing,
/// for load_pretrained() and for transformers. Other files stay, but the shards of an old model,
/// which are removed at the end. A process that is killed leaves the old model or the new one.
/// Errors: IoError.
void save_pretrained(const PretrainedModel& pretrained, const std::filesystem::path& folder);

}  // namespace grouphead
#pragma GCC visibility pop
