#pragma once

// Caches of keys and values in fewer bits, read in place by the decode. Positions lie in tiles of
// kPackKeys; one tile of one head is a run of bytes.
//
// bf16  keys [4][Dk][16][2], 16 keys side by side, dims in pairs, Dk = D / 2 rounded up; values
//       [32][width][2], positions in pairs
// int8  keys [4][Dk][16][4] as k / scale + 128, dims in fours, Dk = D rounded up to 16 / 4, then
//       4 Dk scales in f32, one per dim: max |k| / 127 over the tile's positions; values
//       [64][width] as v / scale, then 64 scales, one per position: max |v| / 127
// width = Dv rounded up to 16; what is padded holds 0.
//
// Source of the axes: KIVI, Liu et al. 2024, arXiv:2402.02750.

#include <cstdint>

#include "kernels/attention/problem.h"
#include "kernels/cpu/bf16.h"
#include "kernels/cpu/int8.h"

namespace grouphead::kernels {

enum class CacheFormat : std::uint8_t { bf16, int8 };

inline constexpr int kCacheZero = 128;  // what stands for 0 in keys of 8 bits

/// 32-bit words of a key.
constexpr Index cache_words(CacheFormat format, Index D) noexcept {
  return format == CacheFormat::bf16 ? ceil_div(D, 2) : round_up(D, kPanelKeys) / 4;
}
/// Bytes of one tile of one head.
constexpr Index cache_key_bytes(CacheFormat format, Index D) noexcept {
  return 4 * cache_words(format, D) * (kPackKeys + (format == CacheFormat::int8 ? 4 : 0));
}
constexpr Index cache_value_bytes(CacheFormat format, Index Dv) noexcept {
  const Index width = round_up(Dv, kPanelKeys);
  return kPackKeys * (format == CacheFormat::bf16 ? 2 * width : width + 4);
}

/// Memory of [B, Hkv, tiles] tiles; a table is for B = 1.
struct CacheTiles {
  CacheFormat format = CacheFormat::bf16;
  std::uint8_t* keys = nullptr;
  std::uint8_t* values = nullptr;
  Index tiles = 0;
  TileTable table{};
  /// int8: keys [B, Hkv, kPackKeys, D] of the tile stored last, exact. A tile that grows gets its
  /// scales and numbers anew from these, so they do not depend on how tokens came.
  float* exact = nullptr;

  std::uint8_t* key_tile(Index bn, Index tile, Index D) const noexcept {
    return keys + (bn * tiles + table.place(tile)) * cache_key_bytes(format, D);
  }
  std::uint8_t* value_tile(Index bn, Index tile, Index Dv) const noexcept {
    return values + (bn * tiles + table.place(tile)) * cache_value_bytes(format, Dv);
  }
};

/// Stores; the same bits at every level. Unit of B * pack_tiles(p, at): all heads of one tile.
void cache_store(const AttentionProblem<float>& p, const CacheTiles& cache, Index at,
                 Index unit) noexcept;
/// int8, after all units: keeps the exact keys of the last tile.
void cache_keep(const AttentionProblem<float>& p, const CacheTiles& cache, Index at) noexcept;
/// int8, before them, where the last tile stored is not the one that `at` continues: takes its
/// first keys from their 8 bits.
void cache_reopen(const AttentionProblem<float>& p, const CacheTiles& cache, Index at) noexcept;

/// The operations of one level. For the int8 decode each query is rounded to 8 bits for each tile,
/// its scales multiplied in: q_d scale_d / (max |q scale| / 127), so that its products with keys
/// are integers, the same at all levels.
struct CacheKernels {
  /// Unit of B * Hkv * pack_tiles(p, 0): one tile of one head in f32, into p.packed.
  void (*widen)(const AttentionProblem<float>& p, const CacheTiles& cache, Index unit) noexcept;
  /// As AttentionKernels::decode, up to kCacheRows rows.
  Index (*decode_scratch)(const AttentionProblem<float>& p) noexcept;
  void (*decode)(const AttentionProblem<float>& p, const CacheTiles& cache, Index unit,
                 float* partial, float* scratch) noexcept;
};
inline constexpr Index kCacheRows = 16;

const CacheKernels& cache_kernels(Level level, CacheFormat format) noexcept;

}  // namespace grouphead::kernels
