#pragma once

#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "grouphead/core/config_value.h"
#include "text/characters.h"
#include "text/steps.h"
#include "text/trie.h"
#include "text/vocabulary.h"

namespace grouphead::text {

/// Tokens that are found in a text before the model sees it.
class AddedTokens {
 public:
  /// `config` is the list of the file, or null. Ids of tokens that the model knows are the model's;
  /// others follow behind them, as the package gives them. `normalizer` may be null.
  AddedTokens(const ConfigValue& config, const Vocabulary& model, const Normalizer* normalizer);

  /// Cuts a text at tokens that are looked for in it as it came, or normalized.
  void split_original(std::string_view text, std::vector<Piece>& out) const {
    split(original_, text, text.empty() ? 0 : character_size(text[0]), out);
  }
  void split_normalized(const NormalizedText& text, std::vector<Piece>& out) const {
    split(normalized_, text.text, text.start_bytes, out);
  }

  std::int32_t id_of(std::string_view token) const noexcept { return tokens_.id_of(token); }
  const std::string* token_of(std::int32_t id) const noexcept { return tokens_.token_of(id); }
  bool is_special(const std::string& token) const { return special_.contains(token); }
  /// Tokens that the model does not have.
  std::size_t num_new() const noexcept { return num_new_; }

 private:
  struct Rule {
    std::int32_t id = 0;
    bool single_word = false;
    bool lstrip = false;
    bool rstrip = false;
  };
  struct Rules {
    std::vector<Rule> rules{};
    Trie trie{};
    bool starts[256] = {};  // which bytes a token begins with
  };

  void add(Rules& rules, const std::string& content, const Rule& rule);
  void split(const Rules& rules, std::string_view text, std::size_t start_bytes,
             std::vector<Piece>& out) const;

  Vocabulary tokens_;
  std::unordered_set<std::string> special_;
  Rules original_;
  Rules normalized_;
  std::size_t num_new_ = 0;
};

}  // namespace grouphead::text
