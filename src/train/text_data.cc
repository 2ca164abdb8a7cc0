#include "train/text_data.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "core/check.h"

namespace grouphead {
namespace {

std::uint64_t fnv1a(std::string_view bytes) noexcept {
  std::uint64_t hash = 0xcbf29ce484222325;
  for (const char byte : bytes) {
    hash = (hash ^ static_cast<unsigned char>(byte)) * 0x100000001b3;
  }
  return hash;
}

std::string_view bytes_of(const std::vector<std::int32_t>& tokens) noexcept {
  return {reinterpret_cast<const char*>(tokens.data()), tokens.size() * sizeof(std::int32_t)};
}

}  // namespace

TextData::TextData(std::string text, Index sequence_length)
    : TextData(std::move(text), {}, sequence_length) {}

TextData::TextData(std::vector<std::int32_t> tokens, Index sequence_length)
    : TextData({}, std::move(tokens), sequence_length) {}

TextData::TextData(std::string text, std::vector<std::int32_t> tokens, Index sequence_length)
    : text_(std::move(text)),
      tokens_(std::move(tokens)),
      sequence_length_(sequence_length),
      fingerprint_(fnv1a(tokens_.empty() ? std::string_view(text_) : bytes_of(tokens_))) {
  if (sequence_length < 1) {
    core::throw_config_error("text", "sequence length", "1 or more",
                             std::to_string(sequence_length));
  }
  if (sequence_length >= size() || size() < 2 * (sequence_length + 1)) {
    core::throw_config_error(
        "text", "length",
        "at least 2 (T + 1) tokens for sequences of T = " + std::to_string(sequence_length),
        std::to_string(size()));
  }
  training_size_ = size() - std::max(size() / 20, sequence_length + 1);
}

void TextData::training_batch(RandomKey key, View tokens, View labels) const {
  core::require_dense("text", "tokens", tokens, {-1, sequence_length_}, Dtype::i32);
  core::require_dense("text", "labels", labels, {tokens.dim(0), sequence_length_}, Dtype::i32);
  const auto starts = static_cast<std::uint64_t>(training_size_ - sequence_length_);
  for (Index row = 0; row < tokens.dim(0); ++row) {
    const PhiloxBlock random = philox4x32(key, static_cast<std::uint64_t>(row));
    const std::uint64_t word = (std::uint64_t{random.words[1]} << 32) | random.words[0];
    window(static_cast<Index>(word % starts), tokens.data<std::int32_t>() + row * sequence_length_,
           labels.data<std::int32_t>() + row * sequence_length_);
  }
}

Index TextData::num_validation_windows() const noexcept {
  return (size() - training_size_ - 1) / sequence_length_;
}

void TextData::validation_batch(Index first, Index count, View tokens, View labels) const {
  core::require_dense("text", "tokens", tokens, {-1, sequence_length_}, Dtype::i32);
  core::require_dense("text", "labels", labels, {tokens.dim(0), sequence_length_}, Dtype::i32);
  const Index windows = num_validation_windows();
  for (Index row = 0; row < tokens.dim(0); ++row) {
    const Index place = (first + row) * windows / count;
    window(training_size_ + place * sequence_length_,
           tokens.data<std::int32_t>() + row * sequence_length_,
           labels.data<std::int32_t>() + row * sequence_length_);
  }
}

void TextData::window(Index start, std::int32_t* tokens, std::int32_t* labels) const noexcept {
  if (!tokens_.empty()) {
    std::copy_n(tokens_.data() + start, sequence_length_, tokens);
    std::copy_n(tokens_.data() + start + 1, sequence_length_, labels);
    return;
  }
  const auto* bytes = reinterpret_cast<const unsigned char*>(text_.data()) + start;
  for (Index t = 0; t < sequence_length_; ++t) {
    tokens[t] = bytes[t];
    labels[t] = bytes[t + 1];
  }
}

}  // namespace grouphead
