// Byte-pair encoding (Sennrich et al. 2016, "Neural Machine Translation of Rare Words with Subword
// Units", section 3.2): the pair of neighbours that was learnt first is joined, until none is
// known.

#include <algorithm>
#include <array>
#include <bit>
#include <limits>

#include "text/characters.h"
#include "text/hash.h"
#include "text/models.h"
#include "text/problem.h"

namespace grouphead::text {
namespace {

struct Settings {
  std::string unknown{};
  std::string prefix{};  // of all but a word's first token
  std::string suffix{};  // of a word's last token
  bool fuse_unknown = false;
  bool byte_fallback = false;
  bool ignore_merges = false;
};

/// What two neighbours become; the lowest rank comes first.
struct Merge {
  std::uint32_t rank;
  std::int32_t id;
};

/// Merges by pair of ids, in a flat hash table.
class MergeTable {
 public:
  explicit MergeTable(std::size_t merges) : slots_(std::bit_ceil(2 * merges + 2)) {}

  /// The last one of a pair counts.
  void set(std::int32_t left, std::int32_t right, Merge merge) {
    slots_[slot_of(key_of(left, right))] = {key_of(left, right), merge};
  }
  /// Null where there is none.
  const Merge* find(std::int32_t left, std::int32_t right) const noexcept {
    const Slot& slot = slots_[slot_of(key_of(left, right))];
    return slot.key == kFree ? nullptr : &slot.merge;
  }

 private:
  static constexpr std::uint64_t kFree = ~std::uint64_t{0};
  struct Slot {
    std::uint64_t key = kFree;
    Merge merge{};
  };

  static std::uint64_t key_of(std::int32_t left, std::int32_t right) noexcept {
    return (std::uint64_t{static_cast<std::uint32_t>(left)} << 32) |
           static_cast<std::uint32_t>(right);
  }
  std::size_t slot_of(std::uint64_t key) const noexcept {
    const std::size_t mask = slots_.size() - 1;
    std::size_t slot = mixed(key) & mask;
    while (slots_[slot].key != key && slots_[slot].key != kFree) slot = (slot + 1) & mask;
    return slot;
  }

  std::vector<Slot> slots_;
};

/// Where SentencePiece's texts, which are not cut into words before, fall apart nevertheless: in
/// front of a space mark, behind a character that no merge joins with one. A token across that
/// place would come of such a merge.
class SpaceCuts {
 public:
  static constexpr std::string_view kMark = "\xE2\x96\x81";  // U+2581

  /// For each merge. `is_stand_in`: the left token does not end in the text's own characters.
  void add(std::string_view left, std::string_view right, bool is_stand_in) {
    if (!right.starts_with(kMark) || left.empty()) return;
    is_off_ = is_off_ || is_stand_in;
    std::size_t start = previous_start(left, left.size());
    joined_.push_back(next_character(left, start));
  }
  void finish(bool is_possible) {
    is_off_ = is_off_ || !is_possible;
    std::sort(joined_.begin(), joined_.end());
    joined_.erase(std::unique(joined_.begin(), joined_.end()), joined_.end());
  }

  /// Bytes before the first such place; all where there is none.
  std::size_t first(std::string_view text) const noexcept {
    if (is_off_) return text.size();
    for (std::size_t at = text.find(kMark, 1); at != text.npos; at = text.find(kMark, at + 1)) {
      std::size_t start = previous_start(text, at);
      const char32_t before = next_character(text, start);
      if (!std::binary_search(joined_.begin(), joined_.end(), before)) return at;
    }
    return text.size();
  }

 private:
  bool is_off_ = false;
  std::vector<char32_t> joined_;  // the last characters of left tokens
};

class Bpe final : public WordModel {
 public:
  Bpe(Vocabulary tokens, MergeTable merges, SpaceCuts cuts, Settings settings)
      : WordModel(std::move(tokens)),
        merges_(std::move(merges)),
        cuts_(std::move(cuts)),
        settings_(std::move(settings)),
        bytes_(byte_tokens(vocabulary())) {
    std::string text;
    for (char32_t c = 0; c < short_.size(); ++c) {
      text.clear();
      append_character(text, c);
      short_[c] = vocabulary().id_of(text);
    }
  }

  void tokenize(std::string_view word, std::vector<std::int32_t>& ids,
                ModelMemory& memory) const override {
    constexpr std::size_t kLongest = std::size_t{1} << 30;
    if (word.size() > kLongest) refuse("word", "at most 2^30 bytes", std::to_string(word.size()));
    if (settings_.ignore_merges) {
      const std::int32_t id = vocabulary().id_of(word);
      if (id != Vocabulary::kNone) {
        ids.push_back(id);
        return;
      }
    }
    memory.symbols.clear();
    add_characters(word, memory);
    constexpr std::size_t kShort = 24;  // below, looking at every pair is faster than a heap
    if (memory.symbols.size() <= kShort) {
      merge_short(memory.symbols);
    } else {
      merge_long(memory);
    }
    for (const ModelMemory::Symbol& symbol : memory.symbols) {
      if (symbol.id != Vocabulary::kNone) ids.push_back(symbol.id);
    }
  }

  std::size_t first_part(std::string_view word) const noexcept override {
    return cuts_.first(word);
  }

 private:
  using Symbols = std::vector<ModelMemory::Symbol>;

  std::int32_t unknown() const {
    const std::int32_t id = vocabulary().id_of(settings_.unknown);
    if (id == Vocabulary::kNone) {
      refuse("unk_token", "a token of the vocabulary", settings_.unknown);
    }
    return id;
  }

  std::int32_t id_of(std::string_view character, bool is_first, bool is_last,
                     std::string& key) const {
    const bool has_prefix = !is_first && !settings_.prefix.empty();
    const bool has_suffix = is_last && !settings_.suffix.empty();
    if (has_prefix || has_suffix) {
      key.assign(has_prefix ? settings_.prefix : std::string_view());
      key += character;
      if (has_suffix) key += settings_.suffix;
      return vocabulary().id_of(key);
    }
    std::size_t at = 0;
    const char32_t c = next_character(character, at);
    key.assign(character);
    return c < short_.size() ? short_[c] : vocabulary().id_of(character);
  }

  // What is not known is left out where there is no unknown token.
  void add_characters(std::string_view word, ModelMemory& memory) const {
    const auto add = [&](std::int32_t id) { memory.symbols.push_back({id, -1, -1}); };
    std::int32_t pending = Vocabulary::kNone;  // unknown tokens wait: the next one may join them
    for (std::size_t at = 0; at < word.size();) {
      const std::string_view character = word.substr(at, character_size(word[at]));
      const bool is_first = at == 0;
      at += character.size();
      const std::int32_t id = id_of(character, is_first, at == word.size(), memory.key);
      if (id != Vocabulary::kNone) {
        if (pending != Vocabulary::kNone) add(pending);
        pending = Vocabulary::kNone;
        add(id);
        continue;
      }
      if (settings_.byte_fallback && has_bytes(memory.key)) {
        for (const char c : memory.key) add(bytes_[static_cast<unsigned char>(c)]);
        continue;
      }
      if (settings_.unknown.empty()) continue;
      if (pending != Vocabulary::kNone && !settings_.fuse_unknown) add(pending);
      pending = unknown();
    }
    if (pending != Vocabulary::kNone) add(pending);
  }

  bool has_bytes(std::string_view key) const noexcept {
    return std::all_of(key.begin(), key.end(), [&](char c) {
      return bytes_[static_cast<unsigned char>(c)] != Vocabulary::kNone;
    });
  }

  void merge_short(Symbols& symbols) const {
    constexpr std::uint32_t kNever = std::numeric_limits<std::uint32_t>::max();
    std::array<Merge, 24> pairs{};  // of a symbol and the next one
    const auto look = [&](std::size_t i) {
      const Merge* merge = merges_.find(symbols[i].id, symbols[i + 1].id);
      pairs[i] = merge != nullptr ? *merge : Merge{kNever, 0};
    };
    for (std::size_t i = 0; i + 1 < symbols.size(); ++i) look(i);
    while (symbols.size() > 1) {
      std::size_t best = 0;
      for (std::size_t i = 1; i + 1 < symbols.size(); ++i) {
        if (pairs[i].rank < pairs[best].rank) best = i;
      }
      if (pairs[best].rank == kNever) return;
      symbols[best].id = pairs[best].id;
      symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(best) + 1);
      for (std::size_t i = best + 1; i + 1 < symbols.size(); ++i) pairs[i] = pairs[i + 1];
      if (best > 0) look(best - 1);
      if (best + 1 < symbols.size()) look(best);
    }
  }

  // A heap of the known pairs, by rank, then from left to right. One whose pair has changed since
  // is passed over. O(n log n).
  void merge_long(ModelMemory& memory) const {
    Symbols& symbols = memory.symbols;
    std::vector<std::uint64_t>& heap = memory.merges;
    const auto at = [&](std::int32_t i) -> ModelMemory::Symbol& {
      return symbols[static_cast<std::size_t>(i)];
    };
    const auto merge_at = [&](std::int32_t left) {
      return merges_.find(at(left).id, at(at(left).next).id);
    };
    const auto entry = [](std::int32_t left, const Merge& merge) {
      return (std::uint64_t{merge.rank} << 32) | static_cast<std::uint32_t>(left);
    };
    const auto count = static_cast<std::int32_t>(symbols.size());
    heap.clear();
    for (std::int32_t i = 0; i < count; ++i) {
      at(i).previous = i - 1;
      at(i).next = i + 1 < count ? i + 1 : -1;
    }
    for (std::int32_t i = 0; i + 1 < count; ++i) {
      if (const Merge* merge = merge_at(i)) heap.push_back(entry(i, *merge));
    }
    std::make_heap(heap.begin(), heap.end(), std::greater<>());
    const auto push = [&](std::int32_t left) {
      if (left < 0 || at(left).next < 0) return;
      const Merge* merge = merge_at(left);
      if (merge == nullptr) return;
      heap.push_back(entry(left, *merge));
      std::push_heap(heap.begin(), heap.end(), std::greater<>());
    };
    while (!heap.empty()) {
      std::pop_heap(heap.begin(), heap.end(), std::greater<>());
      const std::uint64_t top = heap.back();
      heap.pop_back();
      const auto left = static_cast<std::int32_t>(top & 0xFFFFFFFF);
      if (at(left).id == Vocabulary::kNone || at(left).next < 0) continue;
      const Merge* merge = merge_at(left);
      if (merge == nullptr || entry(left, *merge) != top) continue;
      const std::int32_t right = at(left).next;
      at(left).id = merge->id;
      at(left).next = at(right).next;
      if (at(left).next >= 0) at(at(left).next).previous = left;
      at(right).id = Vocabulary::kNone;
      push(at(left).previous);
      push(left);
    }
  }

  MergeTable merges_;
  SpaceCuts cuts_;
  Settings settings_;
  std::vector<std::int32_t> bytes_;
  std::array<std::int32_t, 0x800> short_{};  // ids of the characters of one or two bytes
};

bool flag(const ConfigValue& value, std::string_view what) {
  return !value.is_null() && value.as_bool(what);
}

struct Pair {
  std::string_view left, right;
};

/// "a b" or ["a", "b"].
Pair pair_from(const ConfigValue& merge) {
  if (merge.is_list()) {
    const ConfigValue::List& parts = merge.as_list("merge");
    if (parts.size() != 2) refuse("merge", "two tokens", merge.to_string());
    return {parts[0].as_string("merge"), parts[1].as_string("merge")};
  }
  const std::string_view text = merge.as_string("merge");
  const std::size_t space = text.find(' ');
  if (space == std::string_view::npos || text.find(' ', space + 1) != std::string_view::npos) {
    refuse("merge", "two tokens with a space between", text);
  }
  return {text.substr(0, space), text.substr(space + 1)};
}

// Whether a token ends in what stands for other characters: the unknown token, or a byte.
bool ends_in_stand_in(std::string_view token, std::string_view unknown) {
  if (!unknown.empty() && token.ends_with(unknown)) return true;
  constexpr std::size_t kByteToken = std::string_view("<0x00>").size();
  return token.size() >= kByteToken && token.ends_with('>') &&
         token.substr(token.size() - kByteToken).starts_with("<0x");
}

// Whether texts may be cut at all: each character becomes tokens, none of which depends on where in
// a word it is, and a token's id says which characters it has.
bool falls_apart(const Settings& settings, const Vocabulary& vocabulary) {
  const std::vector<std::int32_t> bytes = byte_tokens(vocabulary);
  const bool has_bytes = std::find(bytes.begin(), bytes.end(), Vocabulary::kNone) == bytes.end();
  return vocabulary.id_of(SpaceCuts::kMark) != Vocabulary::kNone && settings.prefix.empty() &&
         settings.suffix.empty() && !settings.ignore_merges &&
         (!settings.unknown.empty() || (settings.byte_fallback && has_bytes)) &&
         vocabulary.num_ids() == vocabulary.size();
}

}  // namespace

std::unique_ptr<WordModel> bpe_from(const ConfigValue& config) {
  const ConfigValue& dropout = config["dropout"];
  if (!dropout.is_null() && dropout.as_number("dropout") != 0) {
    refuse("dropout", "none: every call gives the same tokens", dropout.to_string());
  }
  Settings settings{.unknown = text_or_empty(config["unk_token"], "unk_token"),
                    .prefix = text_or_empty(config["continuing_subword_prefix"], "prefix"),
                    .suffix = text_or_empty(config["end_of_word_suffix"], "suffix"),
                    .fuse_unknown = flag(config["fuse_unk"], "fuse_unk"),
                    .byte_fallback = flag(config["byte_fallback"], "byte_fallback"),
                    .ignore_merges = flag(config["ignore_merges"], "ignore_merges")};
  Vocabulary vocabulary = vocabulary_from(config["vocab"]);
  const ConfigValue::List& listed = config["merges"].as_list("merges");
  MergeTable merges(listed.size());
  SpaceCuts cuts;
  std::uint32_t rank = 0;
  std::string joined;
  const auto known = [&](std::string_view token) {
    const std::int32_t id = vocabulary.id_of(token);
    if (id == Vocabulary::kNone) refuse("merge", "tokens of the vocabulary", token);
    return id;
  };
  for (const ConfigValue& each : listed) {
    const Pair pair = pair_from(each);
    if (pair.right.size() < settings.prefix.size()) {
      refuse("merge", "the prefix " + settings.prefix, pair.right);
    }
    joined.assign(pair.left).append(pair.right.substr(settings.prefix.size()));
    merges.set(known(pair.left), known(pair.right), {rank++, known(joined)});
    cuts.add(pair.left, pair.right, ends_in_stand_in(pair.left, settings.unknown));
  }
  cuts.finish(falls_apart(settings, vocabulary));
  return std::make_unique<Bpe>(std::move(vocabulary), std::move(merges), std::move(cuts),
                               std::move(settings));
}

}  // namespace grouphead::text
