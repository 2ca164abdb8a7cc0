#pragma once

// What grouphead/attention.h's functions share with the layers: caches as the kernels read them,
// and attention of values that bf16 holds exactly.

#include "grouphead/attention.h"

namespace grouphead::ops {

/// attention() of f32 operands whose values are bf16's, as a layer in bf16 has them: the
/// probabilities and the result may be rounded to bf16 where the processor multiplies bf16.
void attention_on_bf16_grid(Context& ctx, ConstView q, ConstView k, ConstView v,
                            const AttentionOptions& options, View out);

/// Keys and values of one layer in a KvCache's layout: keys [B, Hkv, P/16, D, 16],
/// values [B, Hkv, P, Dp], Dp = Dv rounded up to 16. In 16 or 8 bits, tiles of 64 positions:
/// [B, Hkv, P/64, cache_tile_bytes() / size of an element], bf16 or u8; for q, k, v, out in f32.
struct CacheSlice {
  View keys;
  View values;
  /// u8 alone: [B, Hkv, 64, D] f32, the exact keys of the tile stored last, and which one that is,
  /// [1] i64. A tile's 8-bit values are made anew from these as it grows.
  View exact{};
  View exact_tile{};
};
CacheSlice slice_of(KvCache& cache, Index layer);

/// Bytes of one tile of keys and one of values, of a cache in bf16 or u8.
struct CacheTileBytes {
  Index keys = 0;
  Index values = 0;
};
CacheTileBytes cache_tile_bytes(Dtype dtype, Index D, Index Dv) noexcept;

/// Stores k [B, T, Hkv, D] and v [B, T, Hkv, Dv] at positions `at` .. at + T - 1. What a cache
/// holds does not depend on the calls that its tokens came in, but where `at` goes back into a tile
/// of 8-bit values before the last one: its exact keys are gone, and their 8 bits stand for them.
void cache_store(Context& ctx, std::string_view operation, ConstView k, ConstView v,
                 const CacheSlice& cache, Index at);

/// attention() against the first `length` positions of a cache. Few rows without masks, bias or
/// dropout take the decode kernels (keys split in fixed chunks), others the forward kernel, for
/// which a cache in 16 or 8 bits is widened to f32 first: B Hkv P (D + Dp) elements. No allocation
/// once warm.
void attention_cached(Context& ctx, std::string_view operation, ConstView q,
                      const CacheSlice& cache, Index length, const AttentionOptions& options,
                      View out);

/// The most rows of a key/value head, T * Hq / Hkv, that attention_cached() takes by the decode
/// kernel, which rounds queries for a cache in 8 bits.
inline constexpr Index kMostDecodeRows = 16;

}  // namespace grouphead::ops
