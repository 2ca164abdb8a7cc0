#include "ops/block_table.h"

#include <algorithm>

namespace grouphead::ops {

BlockTable::BlockTable(Index sequences, Index tiles, Index blocks)
    : tiles_(tiles),
      slots_(static_cast<std::size_t>(sequences * tiles), kNone),
      counts_(static_cast<std::size_t>(sequences), 0),
      users_(static_cast<std::size_t>(blocks), 0) {
  for (Index i = blocks - 1; i >= 0; --i) free_.push_back(i);  // taken in ascending order
}

ConstView BlockTable::slots() const noexcept {
  return {slots_.data(), {static_cast<Index>(counts_.size()), tiles_}};
}

bool BlockTable::must_copy(Index sequence, Index begin, Index end) const noexcept {
  const Index tile = begin / kPositions;
  return begin < end && begin % kPositions != 0 && is_shared(sequence, tile);
}

Index BlockTable::blocks_wanted(Index sequence, Index begin, Index end) const noexcept {
  const Index tiles = (end + kPositions - 1) / kPositions;
  return std::max(Index{0}, tiles - count(sequence)) + (must_copy(sequence, begin, end) ? 1 : 0);
}

void BlockTable::extend(Index sequence, Index end) noexcept {
  Index& count = counts_[static_cast<std::size_t>(sequence)];
  for (; count * kPositions < end; ++count) slots_[at(sequence, count)] = take();
}

Index BlockTable::replace(Index sequence, Index tile) noexcept {
  Index& slot = slots_[at(sequence, tile)];
  const Index shared = slot;
  --users_[static_cast<std::size_t>(shared)];
  slot = take();
  return shared;
}

void BlockTable::shrink(Index sequence, Index tiles) noexcept {
  Index& count = counts_[static_cast<std::size_t>(sequence)];
  while (count > tiles) {
    Index& slot = slots_[at(sequence, --count)];
    if (--users_[static_cast<std::size_t>(slot)] == 0) free_.push_back(slot);
    slot = kNone;
  }
}

void BlockTable::share(Index from, Index to, Index tiles) noexcept {
  counts_[static_cast<std::size_t>(to)] = tiles;
  for (Index t = 0; t < tiles; ++t) {
    const Index block = slots_[at(from, t)];
    slots_[at(to, t)] = block;
    ++users_[static_cast<std::size_t>(block)];
  }
}

Index BlockTable::take() noexcept {
  const Index block = free_.back();
  free_.pop_back();
  users_[static_cast<std::size_t>(block)] = 1;
  return block;
}

}  // namespace grouphead::ops
