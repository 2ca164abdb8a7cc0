#include "kernels/attention/cache_reference.h"

#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/attention/reference_query.h"

namespace grouphead::kernels {
namespace {

constexpr float kLog2E = kReferenceLog2E<float>;

float float_at(const std::uint8_t* bytes, Index i) noexcept {
  float x = 0;
  std::memcpy(&x, bytes + 4 * i, 4);
  return x;
}

// Key s of a tile, dim d: its number in the cache, without the scale of int8.
float key_number(const std::uint8_t* tile, CacheFormat format, Index D, Index s, Index d) noexcept {
  const Index dims = format == CacheFormat::bf16 ? 2 : 4;  // of a word
  const Index words = cache_words(format, D);
  const Index word = (s / kPanelKeys * words + d / dims) * kPanelKeys + s % kPanelKeys;
  const std::uint8_t* at = tile + 4 * word + d % dims * (4 / dims);
  if (format == CacheFormat::int8) return static_cast<float>(*at - kCacheZero);
  std::uint16_t bits = 0;
  std::memcpy(&bits, at, 2);
  return bf16_value(bits);
}
float key_scale(const std::uint8_t* tile, CacheFormat format, Index D, Index d) noexcept {
  if (format == CacheFormat::bf16) return 1;
  return float_at(tile + 4 * kPackKeys * cache_words(format, D), d);
}

float value_number(const std::uint8_t* tile, CacheFormat format, Index Dv, Index s,
                   Index d) noexcept {
  const Index width = round_up(Dv, kPanelKeys);
  if (format == CacheFormat::int8) {
    return static_cast<float>(static_cast<std::int8_t>(tile[s * width + d]));
  }
  std::uint16_t bits = 0;
  std::memcpy(&bits, tile + 2 * ((s / 2 * width + d) * 2 + s % 2), 2);
  return bf16_value(bits);
}
float value_scale(const std::uint8_t* tile, CacheFormat format, Index Dv, Index s) noexcept {
  if (format == CacheFormat::bf16) return 1;
  return float_at(tile + kPackKeys * round_up(Dv, kPanelKeys), s);
}

void widen(const AttentionProblem<float>& p, const CacheTiles& cache, Index unit) noexcept {
  const Index bn = unit / pack_tiles(p, Index{0});
  const Index tile = unit % pack_tiles(p, Index{0});
  const std::uint8_t* keys = cache.key_tile(bn, tile, p.D);
  const std::uint8_t* values = cache.value_tile(bn, tile, p.Dv);
  const Index width = round_up(p.Dv, kPanelKeys);
  for (Index s = 0; s < min(kPackKeys, p.S - tile * kPackKeys); ++s) {
    const Index place = tile * kPackKeys + s;
    float* k = p.packed_keys(bn) + place / kPanelKeys * kPanelKeys * p.D + place % kPanelKeys;
    for (Index d = 0; d < p.D; ++d) {
      k[d * kPanelKeys] =
          key_scale(keys, cache.format, p.D, d) * key_number(keys, cache.format, p.D, s, d);
    }
    float* v = p.packed_values(bn) + place * width;
    for (Index d = 0; d < width; ++d) {
      v[d] = value_scale(values, cache.format, p.Dv, s) *
             value_number(values, cache.format, p.Dv, s, d);
    }
  }
}

// What a query is multiplied with for one tile: its codes, and what their products still need.
struct TileQuery {
  float* codes;
  float factor;
};
TileQuery query_of(const AttentionProblem<float>& p, const CacheTiles& cache,
                   const std::uint8_t* tile, const float* q, float* codes) noexcept {
  if (cache.format == CacheFormat::bf16) {
    for (Index d = 0; d < p.D; ++d) codes[d] = q[d];
    return {codes, p.scale};
  }
  float most = 0;
  bool finite = true;
  for (Index d = 0; d < p.D; ++d) {
    codes[d] = q[d] * key_scale(tile, cache.format, p.D, d);
    finite = finite && std::abs(codes[d]) <= std::numeric_limits<float>::max();
    most = std::abs(codes[d]) > most ? std::abs(codes[d]) : most;
  }
  const float scale = int8_scale(most);
  const float factor = int8_factor(scale);
  for (Index d = 0; d < p.D; ++d) {
    codes[d] = finite ? static_cast<float>(whole(codes[d] * factor)) : 0.0F;
  }
  if (!finite) return {codes, std::numeric_limits<float>::quiet_NaN()};
  return {codes, scale * p.scale};
}

Index decode_scratch(const AttentionProblem<float>& p) noexcept { return kDecodeKeys + p.D; }

// One row against the keys of a chunk from `first` on: two passes over its logits in base 2.
void decode_row(const AttentionProblem<float>& p, const CacheTiles& cache, Index bn, Index r,
                Index first, float* out, float* scratch) noexcept {
  const Index stride = decode_partial_size(p) / p.rows();
  const ReferenceQuery<float> row(p, bn, r);
  const Range keys = row.within(first, min(first + kDecodeKeys, p.S));
  float* logits = scratch;
  float top = std::numeric_limits<float>::lowest();
  for (Index s = keys.begin; s < keys.end; ++s) {
    if (!row.attends(s)) continue;
    const std::uint8_t* tile = cache.key_tile(bn, s / kPackKeys, p.D);
    // The same for all keys of a tile.
    const TileQuery query =
        query_of(p, cache, tile, p.row(p.q, bn / p.Hkv, bn % p.Hkv, r), scratch + kDecodeKeys);
    float product = 0;
    for (Index d = 0; d < p.D; ++d) {
      product += query.codes[d] * key_number(tile, cache.format, p.D, s % kPackKeys, d);
    }
    const float logit = row.logit(product * query.factor * kLog2E, s);
    logits[s - first] = logit;
    top = logit < top ? top : logit;  // lets NaN through
  }
  float sum = 0;
  for (Index d = 0; d < p.Dv; ++d) out[d] = 0;
  for (Index s = keys.begin; s < keys.end; ++s) {
    if (!row.attends(s)) continue;
    const std::uint8_t* tile = cache.value_tile(bn, s / kPackKeys, p.Dv);
    const float weight = std::exp2(logits[s - first] - top);
    sum += weight;
    const float scaled =
        weight * row.kept(s) * value_scale(tile, cache.format, p.Dv, s % kPackKeys);
    for (Index d = 0; d < p.Dv; ++d) {
      out[d] += scaled * value_number(tile, cache.format, p.Dv, s % kPackKeys, d);
    }
  }
  out[stride - 2] = top;
  out[stride - 1] = sum;
}

void decode(const AttentionProblem<float>& p, const CacheTiles& cache, Index unit, float* partial,
            float* scratch) noexcept {
  const Index bn = unit / decode_chunks(p);
  const Index first = unit % decode_chunks(p) * kDecodeKeys;
  const Index stride = decode_partial_size(p) / p.rows();
  for (Index r = 0; r < p.rows(); ++r) {
    decode_row(p, cache, bn, r, first, partial + r * stride, scratch);
  }
}

}  // namespace

const CacheKernels& cache_reference() noexcept {
  static constexpr CacheKernels kTable = {widen, decode_scratch, decode};
  return kTable;
}

}  // namespace grouphead::kernels
