#pragma once

// A KvCache as the operations, and the files, see it.

#include "ops/attention.h"

namespace grouphead::ops {

enum class CachePart : std::uint8_t { keys, values };

/// Tiles that a ring has: the window's, and one more, as it may begin inside one. 0: no ring.
Index ring_tiles(const KvCacheConfig& config) noexcept;
/// The first position that the window of position `next` sees.
Index first_seen(const KvCacheConfig& config, Index next) noexcept;
/// Positions of one entry of the memory: of a sequence, or of all blocks.
Index stored_positions(const KvCacheConfig& config) noexcept;
/// Whether positions lie in tiles, which hold them interleaved.
bool has_tiles(const KvCacheConfig& config) noexcept;

struct KvCacheAccess {
  static ops::CacheSlice slice(KvCache& cache, Index layer);

  /// Room for counts[b] more positions of each sequence b: blocks of its own for a paged one.
  /// Errors: ShapeError, and nothing changes, where there are too few.
  static void make_room(std::string_view operation, KvCache& cache, ops::PerEntry counts);
  /// Notes that a sequence has stored up to position `end`.
  static void note_stored(KvCache& cache, Index sequence, Index end) noexcept;
  /// Where the next piece of a store ends that begins at `begin`: what it overwrites in a ring is
  /// out of the window of all its positions.
  static Index piece_end(const KvCache& cache, Index begin, Index end) noexcept;
  /// First positions that the sequences still have.
  static std::span<const Index> kept(const KvCache& cache) noexcept { return cache.kept_; }

  /// Bytes of one head's tile of 64 positions.
  static Index tile_bytes(const KvCache& cache, CachePart part) noexcept;
  /// Those of them that hold positions of a sequence of this length.
  static Index used_bytes(const KvCache& cache, CachePart part, Index tile, Index length) noexcept;
  static std::byte* tile(KvCache& cache, CachePart part, Index layer, Index sequence, Index head,
                         Index tile);
  static const std::byte* tile(const KvCache& cache, CachePart part, Index layer, Index sequence,
                               Index head, Index tile);
  /// u8: a sequence's exact keys [Hkv, 64, D], and which tile they are of; else null.
  static float* exact_keys(KvCache& cache, Index layer, Index sequence);
  static Index* exact_tile(KvCache& cache, Index layer, Index sequence);

  /// The first tile that a sequence of `length` positions, of which the first `kept` are gone, has
  /// in this cache. Errors: ShapeError for one that is too long, or where more is gone than a
  /// window of this cache's hides.
  static Index first_tile(std::string_view operation, const KvCache& cache, Index length,
                          Index kept);
  /// Gives `sequence` this length, and memory for its tiles from first_tile() on, to be filled.
  /// There are blocks enough.
  static void replace(KvCache& cache, Index sequence, Index length, Index first_tile);

  /// KvCache::fork() of sequences that are there.
  static void copy_sequence(const KvCache& source, Index from, KvCache& cache, Index to);

 private:
  static void copy_block(KvCache& cache, Index from, Index to);
};

}  // namespace grouphead::ops
