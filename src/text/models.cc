#include "text/models.h"

#include <array>
#include <limits>

#include "text/problem.h"

namespace grouphead::text {

std::int32_t id_from(const ConfigValue& value) {
  const Index id = value.as_integer("id");
  if (id < 0 || id > std::numeric_limits<std::int32_t>::max()) {
    refuse("id", "a whole number from 0 to 2^31 - 1", std::to_string(id));
  }
  return static_cast<std::int32_t>(id);
}

Vocabulary vocabulary_from(const ConfigValue& entries) {
  const ConfigValue::Object& tokens = entries.as_object("vocab");
  Vocabulary made;
  made.reserve(tokens.size());
  for (const auto& [token, id] : tokens) made.add(token, id_from(id));
  return made;
}

std::vector<std::int32_t> byte_tokens(const Vocabulary& vocabulary) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  std::vector<std::int32_t> ids;
  for (const char high : kDigits) {
    for (const char low : kDigits) {
      const std::array<char, 6> token = {'<', '0', 'x', high, low, '>'};
      ids.push_back(vocabulary.id_of({token.data(), token.size()}));
    }
  }
  return ids;
}

std::string text_or_empty(const ConfigValue& value, std::string_view what) {
  return value.is_null() ? "" : value.as_string(what);
}

std::unique_ptr<WordModel> model_from(const ConfigValue& config) {
  struct Kind {
    std::string_view name;
    std::unique_ptr<WordModel> (*make)(const ConfigValue&);
  };
  constexpr Kind kKinds[] = {{"BPE", bpe_from},
                             {"WordPiece", word_piece_from},
                             {"Unigram", unigram_from},
                             {"WordLevel", word_level_from}};
  std::string type = text_or_empty(config["type"], "model's type");
  if (type.empty()) {  // an older file
    type = config["vocab"].is_list()                     ? "Unigram"
           : config.contains("merges")                   ? "BPE"
           : config.contains("max_input_chars_per_word") ? "WordPiece"
                                                         : "WordLevel";
  }
  for (const Kind& kind : kKinds) {
    if (kind.name == type) return kind.make(config);
  }
  refuse("model", "BPE, WordPiece, Unigram or WordLevel", type);
}

}  // namespace grouphead::text
