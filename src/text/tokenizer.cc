#include "grouphead/text/tokenizer.h"

#include <exception>
#include <utility>

#include "core/context_impl.h"
#include "text/pipeline.h"

namespace grouphead {

Tokenizer::Tokenizer(std::shared_ptr<const text::Pipeline> pipeline)
    : pipeline_(std::move(pipeline)) {}

Tokenizer Tokenizer::load(const std::filesystem::path& path) {
  try {
    return Tokenizer(std::make_shared<const text::Pipeline>(text::read_tokenizer(path)));
  } catch (const ConfigError& error) {  // a value of another type
    throw IoError("[tokenizer] " + path.string() + ": " + error.what());
  } catch (const IoError& error) {
    throw IoError(path.string() + ": " + error.what());
  }
}

Encoding Tokenizer::encode(std::string_view text, const EncodeOptions& options) const {
  Encoding out = pipeline_->encode(text, {}, options);
  if (options.pads && pipeline_->padding()) text::pad({&out, 1}, *pipeline_->padding());
  return out;
}

Encoding Tokenizer::encode_pair(std::string_view first, std::string_view second,
                                const EncodeOptions& options) const {
  Encoding out = pipeline_->encode(first, second, options);
  if (options.pads && pipeline_->padding()) text::pad({&out, 1}, *pipeline_->padding());
  return out;
}

std::vector<Encoding> Tokenizer::encode_batch(Context& ctx, std::span<const std::string> texts,
                                              const EncodeOptions& options) const {
  std::vector<Encoding> out(texts.size());
  std::vector<std::exception_ptr> errors(texts.size());
  ctx.impl().parallel_for(static_cast<Index>(texts.size()), [&](Index unit, int /*slot*/) {
    const auto i = static_cast<std::size_t>(unit);
    try {
      out[i] = encode(texts[i], options);
    } catch (...) {
      errors[i] = std::current_exception();
    }
  });
  for (const std::exception_ptr& error : errors) {
    if (error != nullptr) std::rethrow_exception(error);
  }
  if (options.pads && pipeline_->padding()) text::pad(out, *pipeline_->padding());
  return out;
}

std::string Tokenizer::decode(std::span<const std::int32_t> ids,
                              const DecodeOptions& options) const {
  const std::unique_ptr<text::DecoderChain> chain = pipeline_->decoder();
  for (const std::int32_t id : ids) {
    const std::string* token = pipeline_->shown_token(id, options.skip_special_tokens);
    if (token != nullptr) chain->push(*token);
  }
  chain->finish();
  return chain->take();
}

std::optional<std::int32_t> Tokenizer::token_to_id(std::string_view token) const {
  const std::int32_t id = pipeline_->id_of(token);
  return id == text::Vocabulary::kNone ? std::nullopt : std::optional(id);
}

std::optional<std::string> Tokenizer::id_to_token(std::int32_t id) const {
  const std::string* token = pipeline_->token_of(id);
  return token == nullptr ? std::nullopt : std::optional(*token);
}

Index Tokenizer::vocabulary_size() const noexcept {
  return static_cast<Index>(pipeline_->vocabulary_size());
}

StreamDecoder::StreamDecoder(const Tokenizer& tokenizer, const DecodeOptions& options)
    : pipeline_(tokenizer.pipeline_), options_(options), chain_(pipeline_->decoder()) {}

StreamDecoder::~StreamDecoder() = default;
StreamDecoder::StreamDecoder(StreamDecoder&& other) noexcept = default;
StreamDecoder& StreamDecoder::operator=(StreamDecoder&& other) noexcept = default;

std::string StreamDecoder::push(std::int32_t id) {
  const std::string* token = pipeline_->shown_token(id, options_.skip_special_tokens);
  if (token != nullptr) chain_->push(*token);
  return chain_->take();
}

std::string StreamDecoder::finish() {
  chain_->finish();
  return chain_->take();
}

}  // namespace grouphead
