#include <algorithm>

#include "text/characters.h"
#include "text/models.h"
#include "text/problem.h"

namespace grouphead::text {
namespace {

/// The longest token that a word begins with, then of the rest, each with the prefix (Schuster and
/// Nakajima 2012, "Japanese and Korean Voice Search"; as BERT does it).
class WordPiece final : public WordModel {
 public:
  WordPiece(Vocabulary tokens, std::string unknown, std::string prefix, std::size_t most_characters)
      : WordModel(std::move(tokens)),
        unknown_(std::move(unknown)),
        prefix_(std::move(prefix)),
        most_characters_(most_characters) {
    longest_ = vocabulary().longest();
  }

  void tokenize(std::string_view word, std::vector<std::int32_t>& ids,
                ModelMemory& memory) const override {
    const std::size_t before = ids.size();
    bool fits = count_characters(word) <= most_characters_;
    for (std::size_t begin = 0; fits && begin < word.size();) {
      const std::size_t end = longest(word, begin, ids, memory.key);
      fits = end > begin;
      begin = end;
    }
    if (fits) return;
    ids.resize(before);
    const std::int32_t id = vocabulary().id_of(unknown_);
    if (id == Vocabulary::kNone) refuse("unk_token", "a token of the vocabulary", unknown_);
    ids.push_back(id);
  }

 private:
  // Appends the longest token at `begin` and returns its end; `begin` where there is none.
  std::size_t longest(std::string_view word, std::size_t begin, std::vector<std::int32_t>& ids,
                      std::string& key) const {
    const std::string_view prefix = begin > 0 ? std::string_view(prefix_) : std::string_view();
    key.assign(prefix).append(word.substr(begin, longest_));
    const std::size_t rest = word.size() - begin;
    std::size_t size = std::min(rest, longest_);
    while (size > 0 && size < rest &&
           (static_cast<unsigned char>(word[begin + size]) & 0xC0) == 0x80) {
      --size;
    }
    while (size > 0) {
      const std::int32_t id =
          vocabulary().id_of(std::string_view(key).substr(0, prefix.size() + size));
      if (id != Vocabulary::kNone) {
        ids.push_back(id);
        break;
      }
      size = previous_start(word.substr(begin), size);
    }
    return begin + size;
  }

  std::string unknown_;
  std::string prefix_;
  std::size_t most_characters_;
  std::size_t longest_ = 0;
};

class WordLevel final : public WordModel {
 public:
  WordLevel(Vocabulary tokens, std::string unknown)
      : WordModel(std::move(tokens)), unknown_(std::move(unknown)) {}

  void tokenize(std::string_view word, std::vector<std::int32_t>& ids,
                ModelMemory& /*memory*/) const override {
    std::int32_t id = vocabulary().id_of(word);
    if (id == Vocabulary::kNone) id = vocabulary().id_of(unknown_);
    if (id == Vocabulary::kNone) refuse("unk_token", "a token of the vocabulary", unknown_);
    ids.push_back(id);
  }

 private:
  std::string unknown_;
};

}  // namespace

std::unique_ptr<WordModel> word_piece_from(const ConfigValue& config) {
  const Index most = config["max_input_chars_per_word"].as_integer("max_input_chars_per_word");
  if (most < 0) refuse("max_input_chars_per_word", "0 or more", std::to_string(most));
  return std::make_unique<WordPiece>(
      vocabulary_from(config["vocab"]), config["unk_token"].as_string("unk_token"),
      config["continuing_subword_prefix"].as_string("continuing_subword_prefix"),
      static_cast<std::size_t>(most));
}

std::unique_ptr<WordModel> word_level_from(const ConfigValue& config) {
  return std::make_unique<WordLevel>(vocabulary_from(config["vocab"]),
                                     config["unk_token"].as_string("unk_token"));
}

}  // namespace grouphead::text
