#include "kernels/attention/cache.h"

#include <cstring>

namespace grouphead::kernels {
namespace {

constexpr Index kDims = 64;  // at once

// The part of one tile of head (b, n) that a call stores, positions [begin, end) of the cache.
struct Part {
  Part(const AttentionProblem<float>& problem, Index at, Index unit) noexcept
      : p(problem),
        b(unit / pack_tiles(problem, at)),
        tile(at / kPackKeys + unit % pack_tiles(problem, at)),
        start(at),
        begin(max(at, tile * kPackKeys)),
        end(min(at + problem.S, (tile + 1) * kPackKeys)) {}
  const float* key(Index n, Index s) const noexcept {
    return p.k.data + b * p.k.batch + (s - start) * p.k.time + n * p.k.head;
  }
  const float* value(Index n, Index s) const noexcept {
    return p.v.data + b * p.v.batch + (s - start) * p.v.time + n * p.v.head;
  }
  const AttentionProblem<float>& p;
  Index b, tile, start, begin, end;
};

void store_bf16(const Part& part, const CacheTiles& cache) noexcept {
  const AttentionProblem<float>& p = part.p;
  const Index words = cache_words(cache.format, p.D);
  const Index width = round_up(p.Dv, kPanelKeys);
  for (Index n = 0; n < p.Hkv; ++n) {
    const Index bn = part.b * p.Hkv + n;
    auto* keys = reinterpret_cast<std::uint16_t*>(cache.key_tile(bn, part.tile, p.D));
    auto* values = reinterpret_cast<std::uint16_t*>(cache.value_tile(bn, part.tile, p.Dv));
    for (Index s = part.begin; s < part.end; ++s) {
      const Index place = s % kPackKeys;
      std::uint16_t* key =
          keys + place / kPanelKeys * kPanelKeys * 2 * words + place % kPanelKeys * 2;
      const float* k = part.key(n, s);
      for (Index d = 0; d < 2 * words; ++d) {
        key[d / 2 * 2 * kPanelKeys + d % 2] = bf16_of(d < p.D ? k[d] : 0.0F);
      }
      std::uint16_t* value = values + place / 2 * 2 * width + place % 2;
      const float* v = part.value(n, s);
      for (Index d = 0; d < width; ++d) value[2 * d] = bf16_of(d < p.Dv ? v[d] : 0.0F);
    }
  }
}

// Keys of one head in 8 bits: dims [first, first + kDims) of the tile's positions up to part.end.
// What was there before keeps its numbers in dims whose scale stays.
void store_int8_keys(const Part& part, const CacheTiles& cache, Index n, Index first) noexcept {
  const AttentionProblem<float>& p = part.p;
  const Index bn = part.b * p.Hkv + n;
  const Index padded = 4 * cache_words(cache.format, p.D);
  const Index count = min(kDims, padded - first);
  const Index tile_begin = part.tile * kPackKeys;
  std::uint8_t* codes = cache.key_tile(bn, part.tile, p.D);
  std::uint8_t* scales = codes + kPackKeys * padded + first * 4;
  const auto row = [&](Index s) {
    return s < part.begin ? cache.exact + (bn * kPackKeys + s - tile_begin) * p.D : part.key(n, s);
  };
  std::int32_t most[kDims] = {};
  for (Index s = tile_begin; s < part.end; ++s) {
    const float* k = row(s) + first;
    for (Index d = 0; d < min(count, p.D - first); ++d) {
      const std::int32_t size = size_bits(k[d]);
      most[d] = size > most[d] ? size : most[d];
    }
  }
  for (Index d = 0; d < count; ++d) {
    const float scale = int8_scale_of_bits(most[d]);
    const float factor = int8_factor(scale);
    float before = 0;
    std::memcpy(&before, scales + 4 * d, 4);
    std::memcpy(scales + 4 * d, &scale, 4);
    const bool stays = part.begin > tile_begin && before == scale;
    for (Index s = stays ? part.begin : tile_begin; s < part.end; ++s) {
      const Index place = s - tile_begin;
      const int code = factor == 0.0F ? 0 : whole(row(s)[first + d] * factor);
      codes[place / kPanelKeys * kPanelKeys * padded + (first + d) / 4 * 4 * kPanelKeys +
            place % kPanelKeys * 4 + (first + d) % 4] =
          static_cast<std::uint8_t>(code + kCacheZero);
    }
  }
}

void store_int8_value(const float* v, Index Dv, Index width, std::uint8_t* codes,
                      std::uint8_t* scale_to) noexcept {
  std::int32_t most = 0;
  for (Index d = 0; d < Dv; ++d) {
    const std::int32_t size = size_bits(v[d]);
    most = size > most ? size : most;
  }
  const float scale = int8_scale_of_bits(most);
  const float factor = int8_factor(scale);
  std::memcpy(scale_to, &scale, 4);
  for (Index d = 0; d < width; ++d) {
    const int code = d < Dv && factor != 0.0F ? whole(v[d] * factor) : 0;
    codes[d] = static_cast<std::uint8_t>(code);
  }
}

void store_int8(const Part& part, const CacheTiles& cache) noexcept {
  const AttentionProblem<float>& p = part.p;
  const Index width = round_up(p.Dv, kPanelKeys);
  for (Index n = 0; n < p.Hkv; ++n) {
    for (Index d = 0; d < p.D; d += kDims) store_int8_keys(part, cache, n, d);
    std::uint8_t* values = cache.value_tile(part.b * p.Hkv + n, part.tile, p.Dv);
    for (Index s = part.begin; s < part.end; ++s) {
      const Index place = s % kPackKeys;
      store_int8_value(part.value(n, s), p.Dv, width, values + place * width,
                       values + kPackKeys * width + place * 4);
    }
  }
}

}  // namespace

void cache_store(const AttentionProblem<float>& p, const CacheTiles& cache, Index at,
                 Index unit) noexcept {
  const Part part(p, at, unit);
  cache.format == CacheFormat::bf16 ? store_bf16(part, cache) : store_int8(part, cache);
}

void cache_keep(const AttentionProblem<float>& p, const CacheTiles& cache, Index at) noexcept {
  if (p.S == 0) return;
  for (Index b = 0; b < p.B; ++b) {
    const Part part(p, at, (b + 1) * pack_tiles(p, at) - 1);
    for (Index n = 0; n < p.Hkv; ++n) {
      for (Index s = part.begin; s < part.end; ++s) {
        std::memcpy(cache.exact + ((b * p.Hkv + n) * kPackKeys + s % kPackKeys) * p.D,
                    part.key(n, s), static_cast<std::size_t>(p.D) * sizeof(float));
      }
    }
  }
}

void cache_reopen(const AttentionProblem<float>& p, const CacheTiles& cache, Index at) noexcept {
  const Index padded = 4 * cache_words(cache.format, p.D);
  for (Index bn = 0; bn < p.B * p.Hkv; ++bn) {
    const std::uint8_t* codes = cache.key_tile(bn, at / kPackKeys, p.D);
    for (Index s = 0; s < at % kPackKeys; ++s) {
      const std::uint8_t* key = codes + s / kPanelKeys * kPanelKeys * padded + s % kPanelKeys * 4;
      for (Index d = 0; d < p.D; ++d) {
        float scale = 0;
        std::memcpy(&scale, codes + kPackKeys * padded + 4 * d, 4);
        cache.exact[(bn * kPackKeys + s) * p.D + d] =
            scale * static_cast<float>(key[d / 4 * 4 * kPanelKeys + d % 4] - kCacheZero);
      }
    }
  }
}

}  // namespace grouphead::kernels
