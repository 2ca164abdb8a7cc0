#pragma once

// What makes tokens of a word: byte-pair encoding, WordPiece, Unigram, or a list of words.

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "grouphead/core/config_value.h"
#include "text/vocabulary.h"

namespace grouphead::text {

/// Memory that the models use again for the next word.
struct ModelMemory {
  /// A token of the word so far, in a list.
  struct Symbol {
    std::int32_t id;
    std::int32_t previous;
    std::int32_t next;
  };
  /// How a text is best cut up to here.
  struct Path {
    double score;
    std::size_t begin;  // of its last token
    std::int32_t id;    // Vocabulary::kNone: no path yet
  };

  std::vector<Symbol> symbols{};
  std::vector<std::uint64_t> merges{};
  std::vector<Path> paths{};
  std::vector<std::size_t> cuts{};
  std::string key{};
};

class WordModel {
 public:
  virtual ~WordModel() = default;
  /// Appends the ids of a word in valid UTF-8 that is not empty. Threads: several at a time.
  virtual void tokenize(std::string_view word, std::vector<std::int32_t>& ids,
                        ModelMemory& memory) const = 0;
  /// Bytes of a word's start that are a word of their own: their tokens and those of the rest are
  /// the same apart. All of it where that is not known.
  virtual std::size_t first_part(std::string_view word) const noexcept { return word.size(); }

  const Vocabulary& vocabulary() const noexcept { return vocabulary_; }

 protected:
  explicit WordModel(Vocabulary vocabulary) : vocabulary_(std::move(vocabulary)) {}

 private:
  Vocabulary vocabulary_;
};

/// Errors: IoError for a type that is not known, and for settings without sense.
std::unique_ptr<WordModel> model_from(const ConfigValue& config);
std::unique_ptr<WordModel> bpe_from(const ConfigValue& config);
std::unique_ptr<WordModel> unigram_from(const ConfigValue& config);
std::unique_ptr<WordModel> word_piece_from(const ConfigValue& config);
std::unique_ptr<WordModel> word_level_from(const ConfigValue& config);

/// An object of tokens and their ids. Errors: IoError for ids that are none.
Vocabulary vocabulary_from(const ConfigValue& entries);
std::int32_t id_from(const ConfigValue& value);
/// The ids of <0x00> to <0xFF>; kNone for those that are missing.
std::vector<std::int32_t> byte_tokens(const Vocabulary& vocabulary);
/// A text, or the empty one for null.
std::string text_or_empty(const ConfigValue& value, std::string_view what);

}  // namespace grouphead::text
