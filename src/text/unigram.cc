// The most likely cut of a text into tokens, whose log-probabilities add up (Kudo 2018, "Subword
// Regularization", section 3.2), by the Viterbi algorithm.

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>
#include <optional>

#include "text/characters.h"
#include "text/models.h"
#include "text/problem.h"
#include "text/trie.h"

namespace grouphead::text {
namespace {

class Unigram final : public WordModel {
 public:
  Unigram(Vocabulary tokens, std::vector<double> scores, std::optional<std::int32_t> unknown,
          bool byte_fallback)
      : WordModel(std::move(tokens)),
        scores_(std::move(scores)),
        unknown_(unknown),
        bytes_(byte_fallback ? byte_tokens(vocabulary()) : std::vector<std::int32_t>()) {
    constexpr double kUnknownPenalty = 10;
    for (std::size_t id = 0; id < scores_.size(); ++id) {
      const std::string& token = *vocabulary().token_of(static_cast<std::int32_t>(id));
      trie_.add(token, vocabulary().id_of(token));
    }
    unknown_score_ = *std::min_element(scores_.begin(), scores_.end()) - kUnknownPenalty;
  }

  void tokenize(std::string_view word, std::vector<std::int32_t>& ids,
                ModelMemory& memory) const override {
    find_paths(word, memory.paths);
    // From the end back to the start; neighbouring unknown characters are one token.
    std::vector<std::size_t>& cuts = memory.cuts;
    cuts.assign(1, word.size());
    bool was_unknown = false;
    for (std::size_t end = word.size(); end > 0;) {
      const ModelMemory::Path& path = memory.paths[end];
      const bool is_unknown = unknown_ && path.id == *unknown_;
      if (is_unknown && was_unknown) cuts.pop_back();
      cuts.push_back(path.begin);
      was_unknown = is_unknown;
      end = path.begin;
    }
    for (std::size_t i = cuts.size() - 1; i > 0; --i) {
      add(word.substr(cuts[i], cuts[i - 1] - cuts[i]), ids);
    }
  }

 private:
  // paths[i] is the best way to cut the first i bytes.
  void find_paths(std::string_view word, std::vector<ModelMemory::Path>& paths) const {
    paths.assign(word.size() + 1, {.score = 0, .begin = 0, .id = Vocabulary::kNone});
    for (std::size_t begin = 0; begin < word.size();) {
      const double so_far = paths[begin].score;
      const std::size_t size = character_size(word[begin]);
      const auto reach = [&](std::size_t end, double score, std::int32_t id) {
        ModelMemory::Path& path = paths[end];
        if (path.id == Vocabulary::kNone || score > path.score) path = {score, begin, id};
      };
      bool has_character = false;
      trie_.find_prefixes(word.substr(begin), [&](std::size_t bytes, std::int32_t id) {
        reach(begin + bytes, scores_[static_cast<std::size_t>(id)] + so_far, id);
        has_character = has_character || bytes == size;
      });
      if (!has_character) reach(begin + size, unknown_score_ + so_far, unknown());
      begin += size;
    }
  }

  std::int32_t unknown() const {
    if (!unknown_) refuse("unk_id", "an id, for a text with unknown characters", "null");
    return *unknown_;
  }

  void add(std::string_view token, std::vector<std::int32_t>& ids) const {
    const std::int32_t id = vocabulary().id_of(token);
    if (id != Vocabulary::kNone) {
      ids.push_back(id);
      return;
    }
    const bool has_bytes = !bytes_.empty() && std::all_of(token.begin(), token.end(), [&](char c) {
      return bytes_[static_cast<unsigned char>(c)] != Vocabulary::kNone;
    });
    if (!has_bytes) {
      ids.push_back(unknown());
      return;
    }
    for (const char c : token) ids.push_back(bytes_[static_cast<unsigned char>(c)]);
  }

  std::vector<double> scores_;  // by id
  double unknown_score_ = 0;
  std::optional<std::int32_t> unknown_;
  std::vector<std::int32_t> bytes_;  // empty without fallback
  Trie trie_;
};

/// The number that the package reads where a file has this one. It takes the digits as one whole
/// number, rounded, and divides it by a power of ten, which rounds again (serde_json without
/// float_roundtrip). The last bit decides between cuts of the same tokens in another order.
double as_package_reads(double value) {
  std::array<char, 32> text{};
  const auto written = std::to_chars(text.data(), text.data() + text.size(), std::abs(value),
                                     std::chars_format::scientific);
  const std::string_view shortest(text.data(), static_cast<std::size_t>(written.ptr - text.data()));
  const std::size_t e = shortest.find('e');
  if (e == std::string_view::npos) return value;  // infinite, or no number
  std::uint64_t digits = 0;
  for (const char c : shortest.substr(0, e)) {
    if (c != '.') digits = 10 * digits + static_cast<std::uint64_t>(c - '0');
  }
  int exponent = 0;
  const bool is_below_one = shortest[e + 1] == '-';
  std::from_chars(text.data() + e + 2, written.ptr, exponent);
  const int decimals = e > 2 ? static_cast<int>(e) - 2 : 0;
  const int power = (is_below_one ? -exponent : exponent) - decimals;
  if (power >= 0 || power < -std::numeric_limits<double>::max_exponent10) return value;
  const std::string scale = "1e" + std::to_string(-power);
  double divisor = 1;
  std::from_chars(scale.data(), scale.data() + scale.size(), divisor);
  return std::copysign(static_cast<double>(digits) / divisor, value);
}

}  // namespace

std::unique_ptr<WordModel> unigram_from(const ConfigValue& config) {
  const ConfigValue::List& listed = config["vocab"].as_list("vocab");
  if (listed.empty()) refuse("vocab", "tokens", "none");
  Vocabulary vocabulary;
  vocabulary.reserve(listed.size());
  std::vector<double> scores;
  for (const ConfigValue& each : listed) {
    const ConfigValue::List& entry = each.as_list("token and score");
    if (entry.size() != 2) refuse("vocab", "[token, score]", each.to_string());
    vocabulary.add(entry[0].as_string("token"), static_cast<std::int32_t>(scores.size()));
    scores.push_back(as_package_reads(entry[1].as_number("score")));
  }
  std::optional<std::int32_t> unknown;
  if (!config["unk_id"].is_null()) {
    unknown = id_from(config["unk_id"]);
    if (static_cast<std::size_t>(*unknown) >= scores.size()) {
      refuse("unk_id", "a token of the vocabulary", std::to_string(*unknown));
    }
  }
  const ConfigValue& fallback = config["byte_fallback"];
  return std::make_unique<Unigram>(std::move(vocabulary), std::move(scores), unknown,
                                   !fallback.is_null() && fallback.as_bool("byte_fallback"));
}

}  // namespace grouphead::text
