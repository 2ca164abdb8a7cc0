#pragma once

// Which block of a paged cache holds which positions of which sequence.

#include <span>
#include <vector>

#include "grouphead/core/tensor.h"

namespace grouphead::ops {

/// Blocks are counted by their users and go back when nobody is left. No allocation once made.
class BlockTable {
 public:
  static constexpr Index kPositions = 64;  // of a block
  static constexpr Index kNone = 0;        // where a sequence has no block: never read

  BlockTable(Index sequences, Index tiles, Index blocks);

  Index num_free() const noexcept { return static_cast<Index>(free_.size()); }
  Index tiles() const noexcept { return tiles_; }
  /// [sequences, tiles()], for the kernels.
  ConstView slots() const noexcept;
  Index block(Index sequence, Index tile) const noexcept { return slots_[at(sequence, tile)]; }
  /// Blocks of the sequence, from tile 0 on.
  Index count(Index sequence) const noexcept { return counts_[static_cast<std::size_t>(sequence)]; }
  bool is_shared(Index sequence, Index tile) const noexcept {
    return users_[static_cast<std::size_t>(block(sequence, tile))] > 1;
  }

  /// Whether storing [begin, end) goes into a block that others have too.
  bool must_copy(Index sequence, Index begin, Index end) const noexcept;
  /// Free blocks that storing [begin, end) takes.
  Index blocks_wanted(Index sequence, Index begin, Index end) const noexcept;
  /// Gives the sequence blocks up to position `end`. There are enough.
  void extend(Index sequence, Index end) noexcept;
  /// Gives the tile a block of its own in place of the shared one, which is returned.
  Index replace(Index sequence, Index tile) noexcept;
  /// Takes the blocks behind the first `tiles` away.
  void shrink(Index sequence, Index tiles) noexcept;
  /// Gives `to`, which has no blocks, the first `tiles` of `from`.
  void share(Index from, Index to, Index tiles) noexcept;

 private:
  std::size_t at(Index sequence, Index tile) const noexcept {
    return static_cast<std::size_t>(sequence * tiles_ + tile);
  }
  Index take() noexcept;

  Index tiles_;
  std::vector<Index> slots_;
  std::vector<Index> counts_;  // of each sequence
  std::vector<Index> users_;   // of each block
  std::vector<Index> free_;
};

}  // namespace grouphead::ops
