#pragma once

// What grouphead/attention.h's functions share with the layers: caches as the kernels read them,
// and attention of values that bf16 holds exactly.

#include <optional>
#include <span>

#include "grouphead/attention.h"

namespace grouphead::ops {

/// Attention of operands whose values are those of a layer's 16-bit type, and its backward. In bf16
/// both run on copies in bf16 where the level has kernels for it (attention(), bf16):
/// probabilities, the result and d_out are rounded to bf16, gradients are in the operands' type.
class GridAttention {
 public:
  /// attention(). With `statistics` backward() may follow.
  void forward(Context& ctx, Dtype grid, const ConstView& q, const ConstView& k, const ConstView& v,
               const AttentionOptions& options, const View& out, const View& statistics);
  /// attention_backward(), from what forward() got and wrote.
  void backward(Context& ctx, const ConstView& q, const ConstView& k, const ConstView& v,
                const AttentionOptions& options, const ConstView& out, const ConstView& statistics,
                const AttentionGradients& gradients) const;

 private:
  Tensor q_, k_, v_, out_;  // in bf16; absent elsewhere
};

/// Keys and values of one layer in a KvCache's layout: keys [B, Hkv, P/16, D, 16],
/// values [B, Hkv, P, Dp], Dp = Dv rounded up to 16. In 16 or 8 bits, tiles of 64 positions:
/// [B, Hkv, P/64, cache_tile_bytes() / size of an element], bf16 or u8; for q, k, v, out in f32.
struct CacheSlice {
  View keys;
  View values;
  /// u8 alone: [B, Hkv, 64, D] f32, the exact keys of the tile stored last, and which one that is,
  /// [B] i64. A tile's 8-bit values are made anew from these as it grows.
  View exact{};
  View exact_tile{};
  /// Paged: i64 [B, N]. Then keys and values have one batch entry, whose tile slots[b, t] holds the
  /// positions 64 t .. 64 t + 63 of entry b.
  ConstView slots{};
  /// Not 0: a ring of so many tiles. Tile t lies where tile t % ring does.
  Index ring = 0;
};
CacheSlice slice_of(KvCache& cache, Index layer);

/// Bytes of one tile of keys and one of values, of a cache in bf16 or u8.
struct CacheTileBytes {
  Index keys = 0;
  Index values = 0;
};
CacheTileBytes cache_tile_bytes(Dtype dtype, Index D, Index Dv) noexcept;

/// A number for all batch entries, or one for each.
class PerEntry {
 public:
  PerEntry(Index all) : all_(all) {}                      // NOLINT(google-explicit-constructor)
  PerEntry(std::span<const Index> each) : each_(each) {}  // NOLINT(google-explicit-constructor)
  Index operator[](Index b) const noexcept {
    return each_.empty() ? all_ : each_[static_cast<std::size_t>(b)];
  }

 private:
  std::span<const Index> each_;
  Index all_ = 0;
};

/// Stores counts[b] rows, from row skipped[b] on, of k [B, T, Hkv, D] and v [B, T, Hkv, Dv] at
/// positions at[b] .. of each entry b. What a cache holds does not depend on the calls that its
/// tokens came in, but where `at` goes back into a tile of 8-bit values before the last one: its
/// exact keys are gone, and their 8 bits stand for them. In a ring the rows of a call fit into it.
void cache_store(Context& ctx, std::string_view operation, const ConstView& k, const ConstView& v,
                 const CacheSlice& cache, PerEntry at, PerEntry counts, PerEntry skipped = 0);
void cache_store(Context& ctx, std::string_view operation, const ConstView& k, const ConstView& v,
                 const CacheSlice& cache, Index at);
/// decode() of packed rows: q [1, N, Hq, D], k and v [1, N, Hkv, D] and out have those of some
/// sequences of the cache, one after the other. What a sequence gets is bitwise what decode() of
/// its rows alone gives. Errors: ShapeError, also for a sequence that is there twice.
void decode_packed(Context& ctx, const ConstView& q, const ConstView& k, const ConstView& v,
                   KvCache& cache, Index layer, const AttentionOptions& options, const View& out,
                   std::span<const SequenceRows> rows);

/// Refuses what cache_store() does not take.
void check_cache_store(std::string_view operation, const ConstView& k, const ConstView& v,
                       const CacheSlice& cache, PerEntry at, PerEntry counts);

/// The rows of a call on a cache.
struct CachedRows {
  PerEntry lengths;      ///< keys of each entry
  PerEntry counts;       ///< queries of each entry, up to T
  PerEntry first;        ///< the position of query 0, for causality and windows
  PerEntry kept = 0;     ///< of a ring: the first position that it still has
  PerEntry skipped = 0;  ///< rows of q in front of them
  Index num_keys = 0;    ///< S of masks and bias
  /// Queries that choose the kernel: a call in pieces has the bits of the whole one. Absent: counts
  std::optional<PerEntry> kernel_counts{};
};

/// attention() of counts[b] queries of each entry against the first lengths[b] positions
/// of a cache; other rows of `out` stay. Few rows take the decode kernels (keys split in fixed
/// chunks), others the forward kernel, for which a cache in 16 or 8 bits is widened to f32 first,
/// and one whose tiles do not lie in order is copied: Hkv S (D + Dp) elements of each entry. With
/// few rows no allocation once warm.
void attention_cached(Context& ctx, std::string_view operation, const ConstView& q,
                      const CacheSlice& cache, const CachedRows& rows,
                      const AttentionOptions& options, const View& out);
/// All queries at options.causal_offset, against `length` keys of each entry.
void attention_cached(Context& ctx, std::string_view operation, const ConstView& q,
                      const CacheSlice& cache, Index length, const AttentionOptions& options,
                      const View& out);
/// Refuses what attention_cached() does not take.
void check_attention_cached(std::string_view operation, const ConstView& q, const CacheSlice& cache,
                            const CachedRows& rows, const AttentionOptions& options,
                            const View& out);

/// The most rows of a key/value head, T * Hq / Hkv, that attention_cached() takes by the decode
/// kernel, which rounds queries for a cache in 8 bits.
inline constexpr Index kMostDecodeRows = 16;

}  // namespace grouphead::ops
