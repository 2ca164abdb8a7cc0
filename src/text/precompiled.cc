// SentencePiece's compiled normalization: a double array (Darts-clone) of UTF-8 keys, whose values
// are offsets of zero-terminated texts.

#include <unicode/brkiter.h>
#include <unicode/utext.h>

#include <cstdint>
#include <optional>

#include "text/characters.h"
#include "text/problem.h"
#include "text/steps.h"

namespace grouphead::text {
namespace {

std::string from_base64(std::string_view text) {
  const auto value = [](char c) -> int {
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    if (c == '+') return 62;
    return c == '/' ? 63 : -1;
  };
  std::string out;
  std::uint32_t bits = 0;
  int count = 0;
  for (const char c : text) {
    if (c == '=') break;
    const int six = value(c);
    if (six < 0) refuse("precompiled_charsmap", "base64", "another character");
    bits = (bits << 6) | static_cast<std::uint32_t>(six);
    count += 6;
    if (count < 8) continue;
    count -= 8;
    out += static_cast<char>((bits >> count) & 0xFF);
  }
  return out;
}

class Precompiled final : public Normalizer {
 public:
  explicit Precompiled(const std::string& base64) {
    const std::string bytes = from_base64(base64);
    if (bytes.empty()) return;
    const auto word = [&](std::size_t at) {
      std::uint32_t value = 0;
      for (std::size_t i = 0; i < 4; ++i) {
        value |= std::uint32_t{static_cast<unsigned char>(bytes[at + i])} << (8 * i);
      }
      return value;
    };
    if (bytes.size() < 4 || word(0) > bytes.size() - 4) {
      refuse("precompiled_charsmap", "a trie within it", std::to_string(bytes.size()) + " bytes");
    }
    const std::size_t trie_bytes = word(0) / 4 * 4;
    for (std::size_t at = 0; at < trie_bytes; at += 4) units_.push_back(word(4 + at));
    texts_ = bytes.substr(4 + word(0));
    if (!is_utf8(texts_)) refuse("precompiled_charsmap", "texts in UTF-8", "other bytes");
  }

  void run(NormalizedText& text) const override {
    if (units_.empty()) return;
    text.other.clear();
    UErrorCode error = U_ZERO_ERROR;
    UText opened = UTEXT_INITIALIZER;
    utext_openUTF8(&opened, text.text.data(), static_cast<std::int64_t>(text.text.size()), &error);
    const std::unique_ptr<icu::BreakIterator> breaks(
        icu::BreakIterator::createCharacterInstance(icu::Locale::getRoot(), error));
    if (breaks != nullptr) breaks->setText(&opened, error);
    if (U_FAILURE(error)) refuse("normalizer", "ICU's data", u_errorName(error));
    std::size_t begin = 0;
    std::size_t start_bytes = 0;
    for (std::int32_t end = breaks->next(); end != icu::BreakIterator::DONE; end = breaks->next()) {
      const auto size = static_cast<std::size_t>(end) - begin;
      add_cluster(std::string_view(text.text).substr(begin, size), text.other);
      if (begin < text.start_bytes) start_bytes = text.other.size();
      begin = static_cast<std::size_t>(end);
    }
    text.start_bytes = start_bytes;
    utext_close(&opened);
    text.text.swap(text.other);
  }

 private:
  // Characters that people see as one are looked up together, where they are short.
  void add_cluster(std::string_view cluster, std::string& out) const {
    constexpr std::size_t kShort = 6;
    if (cluster.size() < kShort) {
      if (const auto found = replacement(cluster)) {
        out += *found;
        return;
      }
    }
    for (std::size_t at = 0; at < cluster.size();) {
      const std::string_view one = cluster.substr(at, character_size(cluster[at]));
      out += replacement(one).value_or(one);
      at += one.size();
    }
  }

  // The text for the shortest key that `key` begins with.
  std::optional<std::string_view> replacement(std::string_view key) const {
    const auto offset = [](std::uint32_t unit) { return (unit >> 10) << ((unit & 0x200) >> 6); };
    constexpr std::uint32_t kHasLeaf = 0x100;
    constexpr std::uint32_t kLabel = 0x800000FF;
    constexpr std::uint32_t kValue = 0x7FFFFFFF;
    std::size_t node = offset(units_[0]);
    for (const char c : key) {
      const auto byte = static_cast<unsigned char>(c);
      node ^= byte;
      if (byte == 0 || node >= units_.size() || (units_[node] & kLabel) != byte) return {};
      const std::uint32_t unit = units_[node];
      node ^= offset(unit);
      if ((unit & kHasLeaf) == 0) continue;
      if (node >= units_.size()) return {};
      const std::size_t begin = units_[node] & kValue;
      if (begin >= texts_.size()) return std::string_view();
      const std::string_view rest = std::string_view(texts_).substr(begin);
      return rest.substr(0, rest.find('\0'));
    }
    return {};
  }

  std::vector<std::uint32_t> units_;
  std::string texts_;
};

}  // namespace

std::unique_ptr<Normalizer> precompiled_normalizer(const std::string& base64) {
  return std::make_unique<Precompiled>(base64);
}

}  // namespace grouphead::text
