#include "text/vocabulary.h"

#include <algorithm>
#include <bit>
#include <functional>

namespace grouphead::text {
namespace {

std::uint32_t hash_of(std::string_view token) noexcept {
  return static_cast<std::uint32_t>(std::hash<std::string_view>{}(token));
}

}  // namespace

void Vocabulary::reserve(std::size_t tokens) {
  grow(std::bit_ceil(2 * tokens + 2));
  tokens_.reserve(tokens);
  by_id_.reserve(tokens);
}

void Vocabulary::grow(std::size_t slots) {
  std::vector<Slot> old(slots);
  old.swap(slots_);
  for (const Slot& slot : old) {
    if (slot.id != kNone) slots_[find(tokens_[slot.token], slot.hash)] = slot;
  }
}

// The token's slot, or the free one where it belongs.
std::size_t Vocabulary::find(std::string_view token, std::uint32_t hash) const noexcept {
  const std::size_t mask = slots_.size() - 1;
  for (std::size_t i = hash & mask;; i = (i + 1) & mask) {
    const Slot& slot = slots_[i];
    if (slot.id == kNone || (slot.hash == hash && tokens_[slot.token] == token)) return i;
  }
}

void Vocabulary::add(std::string_view token, std::int32_t id) {
  if (2 * (num_tokens_ + 1) > slots_.size()) grow(std::bit_ceil(4 * num_tokens_ + 16));
  const std::uint32_t hash = hash_of(token);
  Slot& slot = slots_[find(token, hash)];
  if (slot.id == kNone) {
    slot = {hash, id, static_cast<std::uint32_t>(tokens_.size())};
    tokens_.emplace_back(token);
    ++num_tokens_;
    longest_ = std::max(longest_, token.size());
  }
  slot.id = id;
  by_id_[id] = slot.token;
}

std::int32_t Vocabulary::id_of(std::string_view token) const noexcept {
  if (slots_.empty()) return kNone;
  return slots_[find(token, hash_of(token))].id;
}

const std::string* Vocabulary::token_of(std::int32_t id) const noexcept {
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : &tokens_[found->second];
}

}  // namespace grouphead::text
