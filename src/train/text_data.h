#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "grouphead/core/random.h"
#include "grouphead/core/tensor.h"

namespace grouphead {

/// Text as training data: bytes, each of which is a token, or the tokens of a tokenizer. The last
/// 5 % (at least one window) are held out for validation.
class TextData {
 public:
  /// Errors: ConfigError when the text is shorter than two windows of sequence_length + 1 tokens:
  /// one to train on, one to hold out.
  TextData(std::string text, Index sequence_length);
  TextData(std::vector<std::int32_t> tokens, Index sequence_length);

  Index size() const noexcept { return static_cast<Index>(text_.size() + tokens_.size()); }
  Index sequence_length() const noexcept { return sequence_length_; }
  Index training_size() const noexcept { return training_size_; }
  /// A number that tells texts apart (FNV-1a).
  std::uint64_t fingerprint() const noexcept { return fingerprint_; }

  /// Windows of the training part at random places, and the bytes that follow each position. A pure
  /// function of (key.seed, key.draw) and the shape.
  /// Shapes  tokens, labels [B, T] i32
  void training_batch(RandomKey key, View tokens, View labels) const;

  /// Number of windows in the held-out part, side by side.
  Index num_validation_windows() const noexcept;
  /// Windows first .. first + B - 1 of `count` spread evenly over the held-out part.
  void validation_batch(Index first, Index count, View tokens, View labels) const;

 private:
  TextData(std::string text, std::vector<std::int32_t> tokens, Index sequence_length);
  void window(Index start, std::int32_t* tokens, std::int32_t* labels) const noexcept;

  std::string text_;  // or tokens_
  std::vector<std::int32_t> tokens_;
  Index sequence_length_;
  Index training_size_ = 0;
  std::uint64_t fingerprint_;
};

}  // namespace grouphead
