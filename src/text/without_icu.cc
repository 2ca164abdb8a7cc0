// Stands in for the tokenizers in a build without ICU: none can be made.

#include "grouphead/text/tokenizer.h"

namespace grouphead {

namespace text {
class Pipeline {};
class DecoderChain {};
}  // namespace text

namespace {

[[noreturn]] void refuse(const std::string& what) {
  throw ConfigError(
      "[tokenizer] " + what +
      ": expected a build with GROUPHEAD_TEXT, which has tokenizers, got one without");
}

}  // namespace

Tokenizer Tokenizer::load(const std::filesystem::path& path) { refuse(path.string()); }

Encoding Tokenizer::encode(std::string_view /*text*/, const EncodeOptions& /*options*/) const {
  refuse("encode");
}

Encoding Tokenizer::encode_pair(std::string_view /*first*/, std::string_view /*second*/,
                                const EncodeOptions& /*options*/) const {
  refuse("encode_pair");
}

std::vector<Encoding> Tokenizer::encode_batch(Context& /*ctx*/,
                                              std::span<const std::string> /*texts*/,
                                              const EncodeOptions& /*options*/) const {
  refuse("encode_batch");
}

std::string Tokenizer::decode(std::span<const std::int32_t> /*ids*/,
                              const DecodeOptions& /*options*/) const {
  refuse("decode");
}

std::optional<std::int32_t> Tokenizer::token_to_id(std::string_view /*token*/) const {
  refuse("token_to_id");
}

std::optional<std::string> Tokenizer::id_to_token(std::int32_t /*id*/) const {
  refuse("id_to_token");
}

Index Tokenizer::vocabulary_size() const noexcept { return 0; }

StreamDecoder::StreamDecoder(const Tokenizer& /*tokenizer*/, const DecodeOptions& /*options*/) {
  refuse("StreamDecoder");
}

StreamDecoder::~StreamDecoder() = default;
StreamDecoder::StreamDecoder(StreamDecoder&& other) noexcept = default;
StreamDecoder& StreamDecoder::operator=(StreamDecoder&& other) noexcept = default;

std::string StreamDecoder::push(std::int32_t /*id*/) { refuse("push"); }

std::string StreamDecoder::finish() { refuse("finish"); }

}  // namespace grouphead
