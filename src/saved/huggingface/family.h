#pragma once

// The model families of Hugging Face folders: each is a reader of its config.json and the names of
// its weights.

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "grouphead/models/transformer.h"
#include "saved/huggingface/hub_config.h"

namespace grouphead::saved {

/// How queries, keys and values lie in the rows of one weight.
enum class QkvLayout : std::uint8_t {
  separate,  ///< in weights of their own
  parts,     ///< all queries, then all keys, then all values
  heads,     ///< for each key/value head its queries, its key, its value
};

/// Names of weights below the prefix; empty: the family has none. Norms, biases and the like that
/// the description lacks are not looked for.
struct WeightNames {
  std::string_view prefix = "model.";  ///< of all but the head; files may leave it out
  std::string_view tokens = "embed_tokens";
  std::string_view positions{};
  std::string_view token_types{};
  std::string_view embedding_norm{};
  std::string_view embedding_projection{};
  std::string_view head_input{};
  std::string_view final_norm = "norm";
  std::string_view head = "lm_head";  ///< without prefix
  std::string_view layers = "layers.";
  // Below `layers` and the layer's number:
  std::string_view attention_norm = "input_layernorm";
  std::string_view query = "self_attn.q_proj";
  std::string_view key = "self_attn.k_proj";
  std::string_view value = "self_attn.v_proj";
  std::string_view query_key_value{};  ///< where they are fused
  std::string_view query_norm = "self_attn.q_norm";
  std::string_view key_norm = "self_attn.k_norm";
  std::string_view sinks = "self_attn.sinks";
  std::string_view attention_output = "self_attn.o_proj";
  std::string_view attention_output_norm{};
  std::string_view feed_forward_norm = "post_attention_layernorm";
  std::string_view gate = "mlp.gate_proj";
  std::string_view up = "mlp.up_proj";
  std::string_view gate_up{};  ///< where they are fused, one after the other
  std::string_view down = "mlp.down_proj";
  std::string_view feed_forward_output_norm{};
  std::string_view router{};
  std::string_view experts{};      ///< each expert's weights: `experts`N.`gate`, ...
  std::string_view all_experts{};  ///< gate_up_proj, down_proj and their biases for all experts
  bool experts_by_output = false;  ///< of all_experts: kernels [out, in], gates before ups
  QkvLayout layout = QkvLayout::separate;
  Index stored_key_value_heads = 0;  ///< each of the model's is repeated; 0: as many
  bool kernels_by_input = false;     ///< [in, out], as GPT-2's Conv1D has them
};

/// A family's configuration, read.
struct Described {
  TransformerModelConfig config{};
  /// Which key of config.json says how many key/value heads there are; empty: the family has one
  /// for each query head.
  std::string_view heads_key = "num_key_value_heads";
  WeightNames names{};
  /// Names that a model has in transformers' memory, where files have others. They are read too.
  std::optional<WeightNames> names_in_memory{};
};

struct Family {
  std::string_view model_type;
  Described (*describe)(HubConfig& config);
};

/// Null for an unknown model_type.
const Family* find_family(std::string_view model_type);
/// `bert, bloom, ...`
std::string known_families();

// By source file.
std::span<const Family> llama_families();
std::span<const Family> gpt_families();
std::span<const Family> encoder_families();

// What several families read alike.

/// A key of config.json, or an older or newer name of it, and what it is by default. Without a name
/// it is always that.
template <class T>
struct KeyOf {
  std::string_view name{};
  T fallback{};
  std::string_view other_name{};
};

/// What a family of LayerNorm and feed-forwards without a gate calls its sizes and rates.
struct PlainKeys {
  KeyOf<Index> words = {"vocab_size", 50257};
  KeyOf<Index> hidden = {"hidden_size", 768};
  KeyOf<Index> layers = {"num_hidden_layers", 12};
  KeyOf<Index> heads = {"num_attention_heads", 12};
  KeyOf<Index> width = {"intermediate_size"};  ///< 0: four times as wide as hidden states
  KeyOf<std::string_view> activation = {"hidden_act", "gelu"};
  KeyOf<double> epsilon = {"layer_norm_eps", 1e-5};
  KeyOf<double> attention_dropout = {"attention_dropout"};
  KeyOf<double> residual_dropout{};
  KeyOf<double> embedding_dropout{};
};
/// LayerNorm with biases, as many key/value heads as others. Errors: IoError.
TransformerModelConfig plain_blocks_of(HubConfig& config, const PlainKeys& keys);

/// Errors: IoError for a function that is not computed.
Activation activation_of(HubConfig& config, std::initializer_list<std::string_view> keys,
                         std::string_view fallback);
/// The rotary rule under rope_parameters, or under rope_scaling, rope_theta and
/// partial_rotary_factor as older files have it.
RopeConfig rope_of(HubConfig& config, double default_theta, double default_share = 1);
/// The rule that one object says. Missing values: as in `outer`, then these.
RopeConfig rope_from(HubConfig& outer, const ConfigValue& rule, double default_theta,
                     double default_share);
/// layer_types, or by default full attention where `is_full(layer)`; sliding ones have `window`.
/// Layers of full attention rotate by ropes[0], sliding ones by ropes[`sliding_rope`].
std::vector<TransformerLayerConfig> layers_of(HubConfig& config, Index num_layers,
                                              std::optional<Index> window,
                                              bool (*is_full)(Index layer), Index sliding_rope);
/// sliding_window, where it is given.
std::optional<Index> window_of(HubConfig& config);

}  // namespace grouphead::saved
