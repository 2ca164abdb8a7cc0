#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace grouphead::text {

/// The tokens of words that came before. It empties itself when it is full.
class WordCache {
 public:
  static constexpr std::size_t kLongestWord = 64;

  /// Whether the word is known; then its tokens are appended.
  bool append(std::string_view word, std::vector<std::int32_t>& ids) const;
  /// Of a word that is not known, and not too long.
  void add(std::string_view word, std::span<const std::int32_t> ids);

 private:
  struct Slot {
    std::uint32_t hash = 0;
    std::uint32_t text = 0;  // where it begins
    std::uint32_t ids = 0;
    std::uint16_t text_size = 0;  // 0: free
    std::uint16_t num_ids = 0;
  };
  static constexpr std::size_t kSlots = std::size_t{1} << 16;
  static constexpr std::size_t kMostWords = kSlots / 2;

  std::size_t slot_of(std::string_view word, std::uint32_t hash) const noexcept;

  std::vector<Slot> slots_ = std::vector<Slot>(kSlots);
  std::string texts_;
  std::vector<std::int32_t> ids_;
  std::size_t num_words_ = 0;
};

}  // namespace grouphead::text
