#pragma once

#include <filesystem>
#include <memory>
#include <vector>

#include "grouphead/files/pretrained.h"

#pragma GCC visibility push(default)
namespace grouphead {

/// How the hidden states of a text's tokens become one vector.
enum class Pooling : int {
  first,      ///< that of the first real token
  last,       ///< that of the last real token
  mean,       ///< their mean
  root_mean,  ///< their sum divided by the root of their number
  maximum     ///< of each element the greatest
};

/// What a sentence-transformers folder computes: an encoder, one vector for each text, and its
/// length made 1 where the folder says so.
struct SentenceEncoder {
  PretrainedModel pretrained{};
  std::vector<Pooling> poolings{};  ///< one after the other in the vector, in this order
  bool normalizes = false;

  /// [B, M for each pooling], of inputs as TransformerModel takes them. A row without real tokens
  /// gives zeros. Errors: ShapeError.
  Tensor operator()(Context& ctx, const TransformerInputs& inputs) const;
};

/// Reads modules.json, and the folders it names: an encoder, its pooling, a normalization.
/// Errors: IoError, as load_pretrained(); for modules that are not supported, by their names.
/// Source   sentence-transformers 5
SentenceEncoder load_sentence_encoder(const std::filesystem::path& folder);

}  // namespace grouphead
#pragma GCC visibility pop
