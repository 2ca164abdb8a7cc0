#include "train/share_rules.h"

#include "core/check.h"
#include "grouphead/models/lora.h"
#include "grouphead/models/models.h"

namespace grouphead::train {
namespace {

/// Something that a model may have, and whether this one does.
struct Trait {
  const char* name;
  bool is_there;
};

void refuse(std::string_view operation, std::string_view option, std::span<const Trait> traits) {
  for (const Trait& trait : traits) {
    if (!trait.is_there) continue;
    core::throw_config_error(operation, option, std::string("a model without ") + trait.name,
                             "one with them");
  }
}

}  // namespace

// Layers that join positions in another way than attention would join those of one process.
void require_sequence_model(const Layer& model) {
  if (dynamic_cast<const LanguageModel*>(&model) != nullptr) return;
  if (const auto* const adapted = dynamic_cast<const LoraModel*>(&model)) {
    return require_sequence_model(adapted->model_config(), "compile", "sequence");
  }
  if (const auto* const transformer = dynamic_cast<const TransformerModel*>(&model)) {
    return require_sequence_model(transformer->config(), "compile", "sequence");
  }
  core::throw_config_error("compile", "sequence", "none but for a language model",
                           model.class_name());
}

void require_sequence_model(const TransformerModelConfig& model, std::string_view operation,
                            std::string_view option) {
  const Trait traits[] = {
      {"tables of positions", model.max_positions > 0},
      {"attention sinks", model.attention.sinks},
      {"dropped probabilities", model.attention.dropout > 0},
      {"products in 16 bits", model.dtype.compute() != model.dtype.variable()},
  };
  refuse(operation, option, traits);
}

void require_tensor_model(const TransformerModelConfig& model) {
  const SelfAttentionConfig& attention = model.attention;
  const bool scales_all_heads = attention.query_key_norm == QueryKeyNorm::own_gains ||
                                attention.query_key_norm == QueryKeyNorm::all_heads;
  const Trait traits[] = {
      {"norms elsewhere than before attention and feed-forward",
       model.norm_placement != NormPlacement::before || model.residual_from_norm},
      {"attention and feed-forward in parallel", model.parallel},
      {"experts", model.feed_forward.num_experts > 0},
      {"norms over several heads", scales_all_heads},
      {"attention sinks", attention.sinks},
      {"ALiBi slopes", !attention.alibi_slopes.empty()},
      {"products in 16 bits", model.dtype.compute() != model.dtype.variable()},
      {"dropped probabilities", attention.dropout > 0},
  };
  refuse("train", "--tp", traits);
}

}  // namespace grouphead::train
