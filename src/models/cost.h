#pragma once

#include <optional>
#include <string>
#include <vector>

#include "grouphead/models/models.h"
#include "grouphead/models/transformer.h"

namespace grouphead {

/// The transformer of a LanguageModel or an Edifice model; absent for other classes.
std::optional<TransformerConfig> transformer_of(const Layer& model);

/// Numbers that a KV cache of the model holds for each token, in all layers; 0 without one.
Index cached_elements(const Layer& model);
Index cached_elements(const TransformerModelConfig& config) noexcept;

/// What a way of sharing key/value heads costs, per token: one row of the cost table.
struct CacheCost {
  std::string variant;            ///< "MHA", "GQA", "MQA"
  Index num_key_value_heads = 0;  ///< Hkv
  Index elements_per_layer;       ///< 2 Hkv D: cached numbers per token and layer
  Index bytes_per_token;          ///< of all layers
  double relative_to_mha;         ///< Hkv / Hq
};

/// MHA (Hkv = Hq), the model itself where it lies between, MQA (Hkv = 1).
/// Source: Ainslie et al. 2023, arXiv:2305.13245; Edifice's table, with its constants written out.
std::vector<CacheCost> cache_costs(const TransformerConfig& config);

/// The language model's trainable elements by Edifice's formula, which counts the stack's kernels
/// only: no embedding, head, bias or norm.
Index stack_param_count_edifice(const TransformerConfig& config) noexcept;

}  // namespace grouphead
