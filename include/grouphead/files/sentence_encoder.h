#pragma once

#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "grouphead/files/pretrained.h"
#include "grouphead/text/tokenizer.h"

#pragma GCC visibility push(default)
namespace grouphead {

/// How the hidden states of a text's tokens become one vector.
enum class Pooling : int {
  first,          ///< that of the first real token
  last,           ///< that of the last real token
  mean,           ///< their mean
  root_mean,      ///< their sum divided by the root of their number
  weighted_mean,  ///< their mean, the first of weight 1, the second of weight 2, ...
  maximum         ///< of each element the greatest
};

/// What a sentence-transformers folder computes: an encoder, one vector for each text, and its
/// length made 1 where the folder says so.
struct SentenceEncoder {
  PretrainedModel pretrained{};
  std::vector<Pooling> poolings{};  ///< one after the other in the vector, in this order
  bool normalizes = false;
  Index max_length = 0;  ///< tokens that a text keeps, special ones included
  std::string prompt{};  ///< stands before every text

  /// [B, M for each pooling], of inputs as TransformerModel takes them. A row without real tokens
  /// gives zeros. Errors: ShapeError.
  Tensor operator()(Context& ctx, const TransformerInputs& inputs) const;

  /// The same of B texts, those of similar length together. `tokenizer` is that of the folder.
  /// Errors: IoError, as Tokenizer; ShapeError for tokens that the model does not have.
  Tensor encode(Context& ctx, const Tokenizer& tokenizer, std::span<const std::string> texts) const;
};

/// Reads modules.json, and the folders it names: an encoder, its pooling, a normalization; and what
/// sentence_bert_config.json, tokenizer_config.json and config_sentence_transformers.json say of
/// lengths and of a default prompt.
/// Errors: IoError, as load_pretrained(); for modules that are not supported, by their names.
/// Source   sentence-transformers 6
SentenceEncoder load_sentence_encoder(const std::filesystem::path& folder);

}  // namespace grouphead
#pragma GCC visibility pop
