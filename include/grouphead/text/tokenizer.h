#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "grouphead/core/context.h"

#pragma GCC visibility push(default)
namespace grouphead {

namespace text {
class Pipeline;
class DecoderChain;
}  // namespace text

/// The tokens of a text; all lists have the same length.
struct Encoding {
  std::vector<std::int32_t> ids{};
  std::vector<std::int32_t> type_ids{};        ///< which text of a pair a token belongs to
  std::vector<std::int32_t> attention_mask{};  ///< 1; 0 for padding
  std::vector<std::int32_t>
      special_tokens_mask{};  ///< 1 for what the post-processor and padding add
};

struct EncodeOptions {
  bool add_special_tokens = true;  ///< those of the post-processor: [CLS], <s> and the like
  /// Tokens that a text or a pair keeps, special ones included. Absent: as the file truncates.
  std::optional<Index> max_length{};
  bool pads = true;  ///< as the file says
};

struct DecodeOptions {
  bool skip_special_tokens = true;
};

/// A tokenizer of Hugging Face's `tokenizers`, with the same ids and texts.
///
/// Truncation and padding are as the file has them, or as the options say. Bytes that are not UTF-8
/// are read as U+FFFD. A copy shares everything.
///
/// Threads  every function may be called from several at a time
/// Errors   IoError where a text meets what the file forgot (no unknown token), or a regular
///          expression that takes too long
class Tokenizer {
 public:
  /// Reads a file in the format of tokenizer.json, or a folder: its tokenizer.json, else vocab.txt
  /// (WordPiece) or vocab.json and merges.txt (byte-level BPE), with tokenizer_config.json.
  ///
  /// Errors: IoError that names the file; ConfigError in a build without GROUPHEAD_TEXT.
  static Tokenizer load(const std::filesystem::path& path);

  Encoding encode(std::string_view text, const EncodeOptions& options = {}) const;
  /// Two texts in one sequence, as a question and its context.
  Encoding encode_pair(std::string_view first, std::string_view second,
                       const EncodeOptions& options = {}) const;
  /// Each text, on all threads of the Context; padded together where the file pads.
  std::vector<Encoding> encode_batch(Context& ctx, std::span<const std::string> texts,
                                     const EncodeOptions& options = {}) const;

  /// Ids that are not known are left out.
  std::string decode(std::span<const std::int32_t> ids, const DecodeOptions& options = {}) const;

  /// Absent for a token that is not known.
  std::optional<std::int32_t> token_to_id(std::string_view token) const;
  std::optional<std::string> id_to_token(std::int32_t id) const;
  /// Tokens of the model and added ones.
  Index vocabulary_size() const noexcept;

 private:
  friend class StreamDecoder;
  explicit Tokenizer(std::shared_ptr<const text::Pipeline> pipeline);

  std::shared_ptr<const text::Pipeline> pipeline_;
};

/// Text from ids that come one after another. No character is split, and what push() and finish()
/// return, joined, is what decode() gives for all ids.
///
/// Text that a later token may still change is held back: the bytes of a character that is not
/// complete, and runs of byte tokens (<0xE2>), which are text only when the whole run is UTF-8.
///
/// Threads  one caller at a time
class StreamDecoder {
 public:
  explicit StreamDecoder(const Tokenizer& tokenizer, const DecodeOptions& options = {});
  ~StreamDecoder();
  StreamDecoder(StreamDecoder&& other) noexcept;
  StreamDecoder& operator=(StreamDecoder&& other) noexcept;

  std::string push(std::int32_t id);
  /// What was held back. The next push() begins a new text.
  std::string finish();

 private:
  std::shared_ptr<const text::Pipeline> pipeline_;
  DecodeOptions options_;
  std::unique_ptr<text::DecoderChain> chain_;
};

}  // namespace grouphead
#pragma GCC visibility pop
