#include "text/word_cache.h"

#include <functional>

namespace grouphead::text {
namespace {

std::uint32_t hash_of(std::string_view word) noexcept {
  return static_cast<std::uint32_t>(std::hash<std::string_view>{}(word));
}

}  // namespace

std::size_t WordCache::slot_of(std::string_view word, std::uint32_t hash) const noexcept {
  std::size_t at = hash % kSlots;
  while (slots_[at].text_size != 0) {
    const Slot& slot = slots_[at];
    if (slot.hash == hash && word == std::string_view(texts_).substr(slot.text, slot.text_size)) {
      break;
    }
    at = (at + 1) % kSlots;
  }
  return at;
}

bool WordCache::append(std::string_view word, std::vector<std::int32_t>& ids) const {
  const Slot& slot = slots_[slot_of(word, hash_of(word))];
  if (slot.text_size == 0) return false;
  const auto begin = ids_.begin() + slot.ids;
  ids.insert(ids.end(), begin, begin + slot.num_ids);
  return true;
}

void WordCache::add(std::string_view word, std::span<const std::int32_t> ids) {
  if (num_words_ == kMostWords) {
    slots_.assign(kSlots, {});
    texts_.clear();
    ids_.clear();
    num_words_ = 0;
  }
  const std::uint32_t hash = hash_of(word);
  slots_[slot_of(word, hash)] = {.hash = hash,
                                 .text = static_cast<std::uint32_t>(texts_.size()),
                                 .ids = static_cast<std::uint32_t>(ids_.size()),
                                 .text_size = static_cast<std::uint16_t>(word.size()),
                                 .num_ids = static_cast<std::uint16_t>(ids.size())};
  texts_ += word;
  ids_.insert(ids_.end(), ids.begin(), ids.end());
  ++num_words_;
}

}  // namespace grouphead::text
