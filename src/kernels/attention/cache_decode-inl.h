// Decode from caches in fewer bits: what the rows need of a tile is widened in registers, once for
// four rows. Included once per target.

#if defined(GROUPHEAD_KERNELS_CACHE_DECODE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef GROUPHEAD_KERNELS_CACHE_DECODE_INL_H_
#undef GROUPHEAD_KERNELS_CACHE_DECODE_INL_H_
#else
#define GROUPHEAD_KERNELS_CACHE_DECODE_INL_H_
#endif

#include "kernels/attention/cache.h"
#include "kernels/attention/decode-inl.h"
#include "kernels/attention/int8_products-inl.h"

HWY_BEFORE_NAMESPACE();
namespace grouphead::kernels::HWY_NAMESPACE {

// Values in address order: whole rows, few positions at once, so that the second pair of rows
// finds them in L1. 2 x 8 sums of 32 registers, 2 x 4 of 16.
constexpr int kValueRows = 2;
constexpr Index kValueStep = 32;
constexpr Index kCacheLogitRow = kDecodeKeys + 16;

// Memory of a decode unit, for its rows, filled up to fours by the last one.
struct CacheScratch {
  CacheScratch(const AttentionProblem<float>& p, float* memory)
      : CacheScratch(p, ScratchCarver<float>(memory)) {}
  static Index size(const AttentionProblem<float>& p) { return CacheScratch(p, nullptr).used; }

  float scale;
  Index q_row, width;
  float* q;                // [kCacheRows][q_row]
  float* out;              // [kCacheRows][width]
  float* logits;           // [kCacheRows][kCacheLogitRow], then weights
  std::int32_t* products;  // [kShared][kPackKeys]
  std::int8_t* codes;      // [kShared][q_row]
  StripMemory<1> strip;
  Index used;

 private:
  CacheScratch(const AttentionProblem<float>& p, ScratchCarver<float> memory)
      : scale(p.scale * kLog2E),
        q_row(round_up(p.D, kPanelKeys)),
        width(round_up(p.Dv, kPanelKeys)),
        q(memory.take(kCacheRows * q_row)),
        out(memory.take(kCacheRows * width)),
        logits(memory.take(kCacheRows * kCacheLogitRow)),
        products(memory.take<std::int32_t>(kShared * kPackKeys)),
        codes(memory.take<std::int8_t>(kShared * q_row)),
        strip(memory),
        used(memory.used()) {}
};

// Two bf16 of each word, as f32.
static HWY_INLINE Vector first_half(hn::Vec<Words> words) {
  return hn::BitCast(kFloats, hn::ShiftLeft<16>(words));
}
static HWY_INLINE Vector second_half(hn::Vec<Words> words) {
  return hn::BitCast(kFloats, hn::And(words, hn::Set(kWord, 0xFFFF0000U)));
}

template <bool kPrefetches>
struct Bf16Tiles {
  static constexpr CacheFormat kFormat = CacheFormat::bf16;
  static constexpr Index kStep = 2;  // positions that lie interleaved
  static constexpr bool kScalesQueries = true;

  static HWY_INLINE void prefetch_ahead(const std::uint32_t* at) {
    if constexpr (kPrefetches) __builtin_prefetch(reinterpret_cast<const char*>(at) + 2048, 0, 3);
  }
  static HWY_INLINE const std::uint32_t* words(const std::uint8_t* bytes) {
    return reinterpret_cast<const std::uint32_t*>(bytes);
  }
  // to[i][.] = q_i k_j for all keys of a tile: even and odd dims apart, eight chains.
  static HWY_NOINLINE void logits(const float* q, const CacheScratch& w, Index D,
                                  const std::uint8_t* tile, float* to) {
    const Index pairs = cache_words(kFormat, D);
    for (Index j = 0; j < kPackKeys; j += kLanes) {
      const std::uint32_t* k = words(tile) + j / kPanelKeys * kPanelKeys * pairs + j % kPanelKeys;
      Vector even[kShared];
      Vector odd[kShared];
      HWY_UNROLL(4)
      for (int i = 0; i < kShared; ++i) even[i] = odd[i] = hn::Zero(kFloats);
      for (Index d = 0; d < pairs; ++d, k += kPanelKeys) {
        prefetch_ahead(k);
        const auto both = hn::LoadU(kWord, k);
        const Vector x = first_half(both);
        const Vector y = second_half(both);
        HWY_UNROLL(4)
        for (int i = 0; i < kShared; ++i) {
          even[i] = hn::MulAdd(hn::Set(kFloats, q[i * w.q_row + 2 * d]), x, even[i]);
          odd[i] = hn::MulAdd(hn::Set(kFloats, q[i * w.q_row + 2 * d + 1]), y, odd[i]);
        }
      }
      HWY_UNROLL(4)
      for (int i = 0; i < kShared; ++i) {
        hn::StoreU(hn::Add(even[i], odd[i]), kFloats, to + i * kCacheLogitRow + j);
      }
    }
  }
  static HWY_INLINE void scale_weights(const std::uint8_t*, Index, float*) {}
  // sums[i][n] += weights[i][s] v[s][.] for N vectors from column x on.
  template <int N>
  static HWY_INLINE void add(const float* weights, const std::uint8_t* tile, Index width, Index x,
                             Index begin, Index end, Vector (&sums)[kValueRows][N]) {
    const std::uint32_t* v = words(tile) + begin / 2 * width + x;
    for (Index s = begin; s < end; s += kStep, v += width) {
      HWY_UNROLL(8)
      for (int n = 0; n < N; ++n) {
        prefetch_ahead(v + n * kLanes);
        const auto both = hn::LoadU(kWord, v + n * kLanes);
        const Vector a = first_half(both);
        const Vector b = second_half(both);
        HWY_UNROLL(4)
        for (int i = 0; i < kValueRows; ++i) {
          const float* at = weights + i * kCacheLogitRow + s;
          sums[i][n] = hn::MulAdd(hn::Set(kFloats, at[0]), a, sums[i][n]);
          sums[i][n] = hn::MulAdd(hn::Set(kFloats, at[1]), b, sums[i][n]);
        }
      }
    }
  }
  static HWY_INLINE Vector value(const std::uint8_t* tile, Index width, Index s, Index x) {
    const auto both = hn::LoadU(kWord, words(tile) + s / 2 * width + x);
    return s % 2 == 0 ? first_half(both) : second_half(both);
  }
  static HWY_INLINE void widen_keys(const std::uint8_t* tile, Index D, float* to) {
    const Index pairs = cache_words(kFormat, D);
    for (Index j = 0; j < kPackKeys; j += kLanes) {
      const std::uint32_t* k = words(tile) + j / kPanelKeys * kPanelKeys * pairs + j % kPanelKeys;
      float* panel = to + j / kPanelKeys * kPanelKeys * D + j % kPanelKeys;
      for (Index d = 0; d < D; d += 2, k += kPanelKeys) {
        const auto both = hn::LoadU(kWord, k);
        hn::StoreU(first_half(both), kFloats, panel + d * kPanelKeys);
        if (d + 1 < D) hn::StoreU(second_half(both), kFloats, panel + (d + 1) * kPanelKeys);
      }
    }
  }
  static HWY_INLINE float value_scale(const std::uint8_t*, Index, Index) { return 1.0F; }
};

template <Int8Products kProducts, bool kPrefetches>
struct Int8Tiles {
  static constexpr CacheFormat kFormat = CacheFormat::int8;
  static constexpr Index kStep = 1;
  static constexpr bool kScalesQueries = false;  // they are rounded as they came
  static constexpr Index kAhead = kPrefetches ? 16384 : 0;

  // One query in 8 bits for one tile; what its products are to be multiplied with. `sum` of the
  // codes.
  static HWY_INLINE float round_query(const float* q, const float* scales, Index count,
                                      std::int8_t* codes, std::int32_t& sum) {
    const Vector largest = hn::Set(kFloats, std::numeric_limits<float>::max());
    Vector most = hn::Zero(kFloats);
    auto finite = hn::Eq(most, most);
    for (Index d = 0; d < count; d += kLanes) {
      const Vector x = hn::Abs(hn::Mul(hn::LoadU(kFloats, q + d), hn::LoadU(kFloats, scales + d)));
      most = hn::Max(most, x);
      finite = hn::And(finite, hn::Le(x, largest));
    }
    const bool usable = hn::AllTrue(kFloats, finite);
    const float top = usable ? hn::GetLane(hn::MaxOfLanes(kFloats, most)) : 0.0F;
    const float scale = int8_scale(top);
    const float factor = int8_factor(scale);
    auto total = hn::Zero(kWhole);
    const hn::Rebind<std::int8_t, Floats> bytes;
    for (Index d = 0; d < count; d += kLanes) {
      const Vector x = hn::Mul(hn::LoadU(kFloats, q + d), hn::LoadU(kFloats, scales + d));
      auto number = hn::NearestInt(hn::Mul(x, hn::Set(kFloats, factor)));
      if (!usable) number = hn::Zero(kWhole);
      total = hn::Add(total, number);
      hn::StoreU(hn::DemoteTo(bytes, number), bytes, codes + d);
    }
    sum = hn::GetLane(hn::SumOfLanes(kWhole, total));
    return usable ? scale : std::numeric_limits<float>::quiet_NaN();
  }
  static HWY_NOINLINE void logits(const float* q, const CacheScratch& w, Index D,
                                  const std::uint8_t* tile, float* to) {
    const Index words = cache_words(kFormat, D);
    const auto* scales = reinterpret_cast<const float*>(tile + 4 * kPackKeys * words);
    float factors[kShared];
    std::int32_t zeros[kShared];
    for (int i = 0; i < kShared; ++i) {
      factors[i] =
          round_query(q + i * w.q_row, scales, 4 * words, w.codes + i * 4 * words, zeros[i]);
    }
    kProducts(tile, w.codes, words, kAhead, w.products);
    for (int i = 0; i < kShared; ++i) {
      const auto zero = hn::Set(kWhole, kCacheZero * zeros[i]);
      for (Index j = 0; j < kPackKeys; j += kLanes) {
        const auto product = hn::LoadU(kWhole, w.products + i * kPackKeys + j);
        const Vector x = hn::ConvertTo(kFloats, hn::Sub(product, zero));
        hn::StoreU(hn::Mul(x, hn::Set(kFloats, factors[i] * w.scale)), kFloats,
                   to + i * kCacheLogitRow + j);
      }
    }
  }
  static HWY_INLINE void scale_weights(const std::uint8_t* tile, Index width, float* weights) {
    const auto* scales = reinterpret_cast<const float*>(tile + kPackKeys * width);
    for (Index s = 0; s < kPackKeys; s += kLanes) {
      const Vector x = hn::Mul(hn::LoadU(kFloats, weights + s), hn::LoadU(kFloats, scales + s));
      hn::StoreU(x, kFloats, weights + s);
    }
  }
  template <int N>
  static HWY_INLINE void add(const float* weights, const std::uint8_t* tile, Index width, Index x,
                             Index begin, Index end, Vector (&sums)[kValueRows][N]) {
    for (Index s = begin; s < end; ++s) {
      HWY_UNROLL(8)
      for (int n = 0; n < N; ++n) {
        if (kPrefetches && n * kLanes % 64 == 0) {
          __builtin_prefetch(tile + s * width + x + n * kLanes + kAhead, 0, 2);
        }
        const Vector v = value(tile, width, s, x + n * kLanes);
        HWY_UNROLL(4)
        for (int i = 0; i < kValueRows; ++i) {
          sums[i][n] = hn::MulAdd(hn::Set(kFloats, weights[i * kCacheLogitRow + s]), v, sums[i][n]);
        }
      }
    }
  }
  // Without its scale.
  static HWY_INLINE Vector value(const std::uint8_t* tile, Index width, Index s, Index x) {
    const hn::Rebind<std::int8_t, Floats> bytes;
    const auto* at = reinterpret_cast<const std::int8_t*>(tile) + s * width + x;
    return hn::ConvertTo(kFloats, hn::PromoteTo(kWhole, hn::LoadU(bytes, at)));
  }
  static HWY_INLINE void widen_keys(const std::uint8_t* tile, Index D, float* to) {
    const Index words = cache_words(kFormat, D);
    const auto* scales = reinterpret_cast<const float*>(tile + 4 * kPackKeys * words);
    for (Index j = 0; j < kPackKeys; j += kLanes) {
      const auto* k = reinterpret_cast<const std::uint32_t*>(tile) +
                      j / kPanelKeys * kPanelKeys * words + j % kPanelKeys;
      float* panel = to + j / kPanelKeys * kPanelKeys * D + j % kPanelKeys;
      for (Index d = 0; d < D; ++d) {
        const auto both = hn::LoadU(kWord, k + d / 4 * kPanelKeys);
        const auto byte =
            hn::And(hn::ShiftRightSame(both, static_cast<int>(d % 4 * 8)), hn::Set(kWord, 0xFFU));
        const auto number = hn::Sub(hn::BitCast(kWhole, byte), hn::Set(kWhole, kCacheZero));
        hn::StoreU(hn::Mul(hn::Set(kFloats, scales[d]), hn::ConvertTo(kFloats, number)), kFloats,
                   panel + d * kPanelKeys);
      }
    }
  }
  static HWY_INLINE float value_scale(const std::uint8_t* tile, Index width, Index s) {
    return reinterpret_cast<const float*>(tile + kPackKeys * width)[s];
  }
};

// out[i][.] += weights[i][s] v[s][.] for positions [begin, end) of a tile and a pair of rows.
template <class Tiles, int N>
static HWY_NOINLINE void cache_values(const float* weights, const std::uint8_t* tile, Index width,
                                      Index x, Index begin, Index end, float* HWY_RESTRICT out) {
  Vector sums[kValueRows][N];
  HWY_UNROLL(4)
  for (int i = 0; i < kValueRows; ++i) {
    HWY_UNROLL(8)
    for (int n = 0; n < N; ++n) sums[i][n] = hn::LoadU(kFloats, out + i * width + x + n * kLanes);
  }
  Tiles::template add<N>(weights, tile, width, x, begin, end, sums);
  HWY_UNROLL(4)
  for (int i = 0; i < kValueRows; ++i) {
    HWY_UNROLL(8)
    for (int n = 0; n < N; ++n) hn::StoreU(sums[i][n], kFloats, out + i * width + x + n * kLanes);
  }
}

// The keys of a chunk that each row sees: [begins[r], limits[r]).
struct CacheRanges {
  Index begins[kCacheRows];
  Index limits[kCacheRows];
  // Of all rows: [all_begin, all_limit) is what each sees, the others are what any sees.
  Index any_begin = kDecodeKeys, all_begin = 0;
  Index all_limit = kDecodeKeys, any_limit = 0;

  void set(Index r, Index begin, Index limit) {
    begins[r] = begin, limits[r] = limit;
    any_begin = min(any_begin, begin), all_begin = max(all_begin, begin);
    all_limit = min(all_limit, limit), any_limit = max(any_limit, limit);
  }
};

// One tile's values for all rows: positions that all see together, the others row by row, since 0
// times a NaN that a row must not see would be NaN.
template <class Tiles>
static HWY_INLINE void add_tile_values(const CacheScratch& w, const std::uint8_t* tile, Index first,
                                       const CacheRanges& ranges, Index rows) {
  constexpr Index kWide = kValueVectors * kLanes;
  const auto in_tile = [&](Index key) { return max(0, min(kPackKeys, key - first)); };
  const auto one_row = [&](Index r, Index begin, Index end) {
    float* out = w.out + r * w.width;
    for (Index s = begin; s < end; ++s) {
      const Vector weight = hn::Set(kFloats, w.logits[r * kCacheLogitRow + first + s]);
      for (Index x = 0; x < w.width; x += kLanes) {
        const Vector sum = hn::LoadU(kFloats, out + x);
        hn::StoreU(hn::MulAdd(weight, Tiles::value(tile, w.width, s, x), sum), kFloats, out + x);
      }
    }
  };
  const Index from = round_up(in_tile(ranges.all_begin), Tiles::kStep);
  const Index all = max(from, in_tile(ranges.all_limit) / Tiles::kStep * Tiles::kStep);
  for (Index r = 0; r < rows; ++r) {
    Tiles::scale_weights(tile, w.width, w.logits + r * kCacheLogitRow + first);
  }
  for (Index r = 0; r < rows; ++r) {
    one_row(r, in_tile(ranges.begins[r]), min(from, in_tile(ranges.limits[r])));
  }
  for (Index begin = from; begin < all; begin += kValueStep) {
    const Index end = min(all, begin + kValueStep);
    for (Index x = 0; x < w.width; x += w.width - x >= kWide ? kWide : kLanes) {
      for (Index r = 0; r < rows; r += kValueRows) {
        const float* weights = w.logits + r * kCacheLogitRow + first;
        float* out = w.out + r * w.width;
        if (w.width - x >= kWide) {
          cache_values<Tiles, kValueVectors>(weights, tile, w.width, x, begin, end, out);
        } else {
          cache_values<Tiles, 1>(weights, tile, w.width, x, begin, end, out);
        }
      }
    }
  }
  for (Index r = 0; r < rows; ++r) {
    one_row(r, max(all, in_tile(ranges.begins[r])), in_tile(ranges.limits[r]));
  }
}

static Index cache_decode_scratch(const AttentionProblem<float>& p) noexcept {
  return CacheScratch::size(p);
}

template <class Tiles>
static void cache_decode(const AttentionProblem<float>& p, const CacheTiles& cache, Index unit,
                         float* partial, float* scratch) noexcept {
  const FlushToZero flush;
  const CacheScratch w(p, scratch);
  const Index bn = unit / decode_chunks(p);
  const Index first = unit % decode_chunks(p) * kDecodeKeys;
  const Index rows = p.rows();
  const Index padded = round_up(rows, kShared);
  RowPlace places[kCacheRows];
  find_places(p, bn, 0, padded, places);
  CacheRanges ranges;
  for (Index r = 0; r < padded; ++r) {
    const Index row = min(r, rows - 1);
    copy_row(p.row(p.q, bn / p.Hkv, bn % p.Hkv, row), p.D, w.q_row,
             Tiles::kScalesQueries ? w.scale : 1.0F, w.q + r * w.q_row);
    const Index limit = max(0, min(kDecodeKeys, places[r].limit - first));
    ranges.set(r, max(0, min(limit, places[r].begin - first)), limit);
  }
  const Index any = ranges.any_limit;
  const Index start = ranges.any_begin / kPackKeys * kPackKeys;
  for (Index s = start; s < any; s += kPackKeys) {
    const std::uint8_t* tile = cache.key_tile(bn, (first + s) / kPackKeys, p.D);
    for (Index r = 0; r < padded; r += kShared) {
      Tiles::logits(w.q + r * w.q_row, w, p.D, tile, w.logits + r * kCacheLogitRow + s);
    }
  }
  const Index partial_row = w.width + kPanelKeys;
  const bool has_options = has_decode_options(p);
  for (Index r = 0; r < rows; ++r) {
    float* logits = w.logits + r * kCacheLogitRow + start;
    const Index keys = max(0, ranges.limits[r] - start);
    hide(logits, ranges.begins[r] - start);
    if (has_options) decode_options(p, bn, places[r], first + start, keys, w.strip, logits);
    decode_softmax(logits, keys, partial + r * partial_row, w.width);
    if (p.dropout.active) decode_dropout(p, bn, places[r], first + start, keys, w.strip, logits);
  }
  fill(w.out, padded * w.width, 0.0F);
  for (Index s = start; s < any; s += kPackKeys) {
    const std::uint8_t* tile = cache.value_tile(bn, (first + s) / kPackKeys, p.Dv);
    add_tile_values<Tiles>(w, tile, s, ranges, rows);
  }
  for (Index r = 0; r < rows; ++r) {
    copy_row(w.out + r * w.width, w.width, w.width, 1.0F, partial + r * partial_row);
  }
}

template <class Tiles>
static void cache_widen(const AttentionProblem<float>& p, const CacheTiles& cache,
                        Index unit) noexcept {
  const Index bn = unit / pack_tiles(p, Index{0});
  const Index tile = unit % pack_tiles(p, Index{0});
  const Index width = round_up(p.Dv, kPanelKeys);
  Tiles::widen_keys(cache.key_tile(bn, tile, p.D), p.D, p.packed_keys(bn) + tile * kPackKeys * p.D);
  const std::uint8_t* values = cache.value_tile(bn, tile, p.Dv);
  for (Index s = 0; s < kPackKeys; ++s) {
    const Vector scale = hn::Set(kFloats, Tiles::value_scale(values, width, s));
    float* to = p.packed_values(bn) + (tile * kPackKeys + s) * width;
    for (Index x = 0; x < width; x += kLanes) {
      hn::StoreU(hn::Mul(scale, Tiles::value(values, width, s, x)), kFloats, to + x);
    }
  }
}

// Memory is prefetched where that helps, see prefetch_helps().
template <template <bool> class Tiles>
static const CacheKernels& cache_table() noexcept {
  static constexpr CacheKernels kPlain = {cache_widen<Tiles<false>>, cache_decode_scratch,
                                          cache_decode<Tiles<false>>};
  static constexpr CacheKernels kPrefetching = {cache_widen<Tiles<true>>, cache_decode_scratch,
                                                cache_decode<Tiles<true>>};
  return prefetch_helps() ? kPrefetching : kPlain;
}
template <bool kPrefetches>
using PlainInt8Tiles = Int8Tiles<int8_products, kPrefetches>;
#if HWY_TARGET == HWY_AVX3
template <bool kPrefetches>
using VnniTiles = Int8Tiles<int8_products_vnni, kPrefetches>;
#elif HWY_TARGET == HWY_NEON
template <bool kPrefetches>
using SdotTiles = Int8Tiles<int8_products_sdot, kPrefetches>;
#endif

}  // namespace grouphead::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
