#include "text/pipeline.h"

#include <algorithm>
#include <utility>

#include "text/characters.h"

namespace grouphead::text {

Pipeline::Pipeline(const ConfigValue& config)
    : model_(model_from(config["model"])),
      normalizer_(normalizer_from(config["normalizer"])),
      pre_tokenizer_(pre_tokenizer_from(config["pre_tokenizer"])),
      post_processor_(post_processor_from(config["post_processor"])),
      added_(config["added_tokens"], model_->vocabulary(), normalizer_.get()),
      make_stages_(decoder_from(config["decoder"])),
      truncation_(truncation_from(config["truncation"])),
      padding_(padding_from(config["padding"])) {}

std::unique_ptr<Pipeline::Workspace> Pipeline::workspace() const {
  const std::lock_guard lock(mutex_);
  if (idle_.empty()) return std::make_unique<Workspace>();
  std::unique_ptr<Workspace> work = std::move(idle_.back());
  idle_.pop_back();
  return work;
}

Encoding Pipeline::encode(std::string_view first, std::optional<std::string_view> second,
                          const EncodeOptions& options) const {
  std::unique_ptr<Workspace> work = workspace();
  std::vector<Encoding> parts;
  parts.push_back(encode_text(first, 0, *work));
  if (second) parts.push_back(encode_text(*second, 1, *work));
  {
    const std::lock_guard lock(mutex_);
    idle_.push_back(std::move(work));
  }
  if (truncation_ || options.max_length) {
    Truncation how = truncation_.value_or(Truncation());
    const std::size_t added = options.add_special_tokens && post_processor_ != nullptr
                                  ? post_processor_->num_added(second.has_value())
                                  : 0;
    if (options.max_length) {
      how.max_length = std::max(static_cast<std::size_t>(*options.max_length), added);
    }
    how.max_length -= added;  // below 0 it is without a limit, as in the package
    truncate(parts, how);
  }
  if (post_processor_ != nullptr) post_processor_->run(parts, options.add_special_tokens);
  return joined(std::move(parts));
}

Encoding Pipeline::encode_text(std::string_view text, std::int32_t type, Workspace& work) const {
  if (is_ascii(text) || is_utf8(text)) {
    cut(text, work);
  } else {
    cut(repaired(text), work);
  }
  Encoding out;
  for (const Piece& piece : work.pieces.pieces) {
    if (piece.token == Piece::kText) {
      add_words(work.pieces.at(piece), out.ids, work);
    } else {
      out.ids.push_back(piece.token);
    }
  }
  out.type_ids.assign(out.ids.size(), type);
  out.attention_mask.assign(out.ids.size(), 1);
  out.special_tokens_mask.assign(out.ids.size(), 0);
  return out;
}

// Added tokens are cut out, what is between them is normalized, tokens of normalized texts are cut
// out, and the pre-tokenizer makes words of the rest.
void Pipeline::cut(std::string_view text, Workspace& work) const {
  Pieces& pieces = work.pieces;
  pieces.clear();
  work.original_cuts.clear();
  added_.split_original(text, work.original_cuts);
  for (const Piece& part : work.original_cuts) {
    const std::string_view original = text.substr(part.span.begin, part.span.end - part.span.begin);
    std::size_t base = pieces.text.size();
    if (part.token != Piece::kText) {
      pieces.text += original;
      pieces.pieces.push_back({.span = {base, pieces.text.size()}, .token = part.token});
      continue;
    }
    NormalizedText& normalized = work.normalized;
    normalized.text.assign(original);
    normalized.start_bytes = part.start_bytes;
    if (normalizer_ != nullptr) {
      normalizer_->run(normalized);
      require_growth(normalized.text.size(), original.size());
    }
    pieces.text += normalized.text;
    work.normalized_cuts.clear();
    added_.split_normalized(normalized, work.normalized_cuts);
    for (Piece piece : work.normalized_cuts) {
      piece.span.begin += base;
      piece.span.end += base;
      pieces.pieces.push_back(piece);
    }
  }
  if (pre_tokenizer_ != nullptr) pre_tokenizer_->run(pieces, work.steps);
}

void Pipeline::add_words(std::string_view text, std::vector<std::int32_t>& ids,
                         Workspace& work) const {
  while (!text.empty()) {
    const std::size_t size = model_->first_part(text);
    add_ids(text.substr(0, size), ids, work);
    text.remove_prefix(size);
  }
}

void Pipeline::add_ids(std::string_view word, std::vector<std::int32_t>& ids,
                       Workspace& work) const {
  if (word.size() > WordCache::kLongestWord) {
    model_->tokenize(word, ids, work.model);
    return;
  }
  if (work.cache.append(word, ids)) return;
  const std::size_t before = ids.size();
  model_->tokenize(word, ids, work.model);
  work.cache.add(word, std::span(ids).subspan(before));
}

std::unique_ptr<DecoderChain> Pipeline::decoder() const {
  std::vector<std::unique_ptr<DecoderStage>> stages;
  make_stages_(stages);
  return std::make_unique<DecoderChain>(std::move(stages));
}

const std::string* Pipeline::shown_token(std::int32_t id, bool skip_special_tokens) const {
  const std::string* token = token_of(id);
  return token != nullptr && skip_special_tokens && added_.is_special(*token) ? nullptr : token;
}

std::int32_t Pipeline::id_of(std::string_view token) const noexcept {
  const std::int32_t id = added_.id_of(token);
  return id != Vocabulary::kNone ? id : model_->vocabulary().id_of(token);
}

const std::string* Pipeline::token_of(std::int32_t id) const noexcept {
  const std::string* token = added_.token_of(id);
  return token != nullptr ? token : model_->vocabulary().token_of(id);
}

std::size_t Pipeline::vocabulary_size() const noexcept {
  return model_->vocabulary().size() + added_.num_new();
}

}  // namespace grouphead::text
