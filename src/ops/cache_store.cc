// Storing keys and values in a cache.

#include <string>

#include "core/check.h"
#include "ops/cached.h"

namespace grouphead::ops {
namespace {

using kernels::AttentionProblem;
using kernels::kPanelKeys;

// The cache's values tell Dv only rounded up; the other operand knows it.
void check_value_width(std::string_view operation, std::string_view operand,
                       const CacheSlice& cache, Index dv) {
  const Index width = cache.values.dim(3);
  if (dv < 1 || kernels::round_up(dv, kPanelKeys) != width) {
    core::throw_shape_error(operation, operand,
                            "a head dim that rounds up to " + std::to_string(width),
                            std::to_string(dv));
  }
}

// Batch entries of the keys and values.
Index stored_batch(const CacheSlice& cache, Index batch) {
  return cache.slots.has_value() ? 1 : batch;
}

// Of a cache in 16 or 8 bits.
void check_tiles(std::string_view operation, const CacheSlice& cache, Index batch, Index d,
                 Index dv, Dtype dtype) {
  if (dtype != Dtype::f32) {
    core::throw_shape_error(operation, "keys", name_of(dtype), name_of(cache.keys.dtype()));
  }
  const Dtype stored = cache.keys.dtype();
  const CacheTileBytes bytes = cache_tile_bytes(stored, d, dv);
  const Index heads = cache.keys.dim(1);
  const Index tiles = cache.keys.dim(2);
  const Index entries = stored_batch(cache, batch);
  core::require_dense(operation, "keys", cache.keys,
                      {entries, heads, -1, bytes.keys / size_of(stored)}, stored);
  core::require_dense(operation, "values", cache.values,
                      {entries, heads, tiles, bytes.values / size_of(stored)}, stored);
  if (stored != Dtype::u8) return;
  core::require_dense(operation, "exact keys", cache.exact, {batch, heads, kernels::kPackKeys, d},
                      Dtype::f32);
  core::require_dense(operation, "tile of the exact keys", cache.exact_tile, {batch}, Dtype::i64);
}

// The part of a call that one batch entry stores.
template <class F>
struct StoredEntry {
  AttentionProblem<F> p;
  kernels::CacheTiles tiles;
  Index at = 0;
  Index first_unit = 0;
};

template <class F>
AttentionProblem<F> problem_of_store(const ConstView& k, const ConstView& v, Index b, Index count,
                                     Index skipped) {
  AttentionProblem<F> p;
  p.B = 1, p.S = count, p.Hkv = k.dim(2), p.D = k.dim(3), p.Dv = v.dim(3);
  p.k = heads_of<F>(k), p.v = heads_of<F>(v);
  p.k.data += b * p.k.batch + skipped * p.k.time;
  p.v.data += b * p.v.batch + skipped * p.v.time;
  return p;
}

// Takes the exact keys of the tile that a store continues from their 8 bits, where others are kept.
void reopen(const CacheSlice& cache, const StoredEntry<float>& e, Index b) {
  if (e.tiles.exact == nullptr || e.at % kernels::kPackKeys == 0) return;
  if (cache.exact_tile.data<Index>()[b] == e.at / kernels::kPackKeys) return;
  kernels::cache_reopen(e.p, e.tiles, e.at);
}

void keep(const CacheSlice& cache, const StoredEntry<float>& e, Index b) {
  if (e.tiles.exact == nullptr) return;
  kernels::cache_keep(e.p, e.tiles, e.at);
  cache.exact_tile.data<Index>()[b] = (e.at + e.p.S - 1) / kernels::kPackKeys;
}

template <class F>
void store(Context& ctx, const ConstView& k, const ConstView& v, const CacheSlice& cache,
           PerEntry at, PerEntry counts, PerEntry skipped) {
  constexpr double kCostOfMove = 16;  // moving one element takes as long as so many flops
  ContextArray<StoredEntry<F>> array(ctx, k.dim(0));
  const std::span<StoredEntry<F>> entries = array.values();
  const bool narrow = has_tiles(cache);
  double moved = 0;
  const auto for_stored = [&](const auto& body) {
    for (Index b = 0; b < k.dim(0); ++b) {
      if (counts[b] > 0) body(entries[static_cast<std::size_t>(b)], b);
    }
  };
  for_stored([&](StoredEntry<F>& e, Index b) {
    e.p = problem_of_store<F>(k, v, b, counts[b], skipped[b]);
    e.at = at[b];
    if (narrow) {
      e.tiles = tiles_of(cache, b);
    } else {
      e.p.packed = packed_of<F>(cache, b);
    }
    moved += static_cast<double>(e.p.S * e.p.Hkv * (e.p.D + e.p.Dv));
    if constexpr (std::is_same_v<F, float>) reopen(cache, e, b);
  });
  for_entry_units(
      ctx, entries, kCostOfMove * moved,
      [](const StoredEntry<F>& e) { return kernels::pack_tiles(e.p, e.at); },
      [&](const StoredEntry<F>& e, Index unit, int) {
        if constexpr (std::is_same_v<F, float>) {
          if (narrow) return kernels::cache_store(e.p, e.tiles, e.at, unit);
        }
        kernels_of<F>(ctx).pack(e.p, e.at, unit);
      });
  if constexpr (std::is_same_v<F, float>) {
    for_stored([&](const StoredEntry<F>& e, Index b) { keep(cache, e, b); });
  }
}

}  // namespace

Index capacity_of(const CacheSlice& cache) noexcept {
  constexpr Index kEndless = Index{1} << 60;
  if (cache.ring > 0) return kEndless;
  if (cache.slots.has_value()) return cache.slots.dim(1) * kernels::kPackKeys;
  return cache.keys.dim(2) * (has_tiles(cache) ? kernels::kPackKeys : kPanelKeys);
}

void check_rank(std::string_view operation, const CacheSlice& cache) {
  if (has_tiles(cache)) {
    core::require_shape(operation, "keys", cache.keys, {-1, -1, -1, -1});
  } else {
    core::require_shape(operation, "keys", cache.keys, {-1, -1, -1, -1, kPanelKeys});
  }
}

void check_cache(std::string_view operation, const CacheSlice& cache, const ConstView& x,
                 std::string_view value_operand, const ConstView& values) {
  const Index batch = x.dim(0);
  const Index d = x.dim(3);
  if (cache.slots.has_value()) {
    core::require_shape(operation, "cache", cache.slots, {batch, -1});
  }
  if (has_tiles(cache)) {
    return check_tiles(operation, cache, batch, d, values.dim(3), x.dtype());
  }
  const Index entries = stored_batch(cache, batch);
  core::require_shape(operation, "keys", cache.keys, {entries, -1, -1, d, kPanelKeys});
  const Index heads = cache.keys.dim(1);
  const Index capacity = cache.keys.dim(2) * kPanelKeys;
  core::require_dense(operation, "keys", cache.keys, {entries, heads, -1, d, kPanelKeys},
                      x.dtype());
  core::require_dense(operation, "values", cache.values, {entries, heads, capacity, -1}, x.dtype());
  check_value_width(operation, value_operand, cache, values.dim(3));
}

void check_fits(std::string_view operation, const CacheSlice& cache, Index begin, Index end) {
  const Index capacity = capacity_of(cache);
  if (begin < 0 || end > capacity) {
    core::throw_shape_error(operation, "positions", "within 0 .. " + std::to_string(capacity),
                            std::to_string(begin) + " .. " + std::to_string(end));
  }
}

kernels::CacheFormat format_of(Dtype dtype) noexcept {
  return dtype == Dtype::bf16 ? kernels::CacheFormat::bf16 : kernels::CacheFormat::int8;
}

kernels::CacheTiles tiles_of(const CacheSlice& cache, Index b) {
  kernels::CacheTiles tiles{.format = format_of(cache.keys.dtype()),
                            .keys = entry_of<std::uint8_t>(cache.keys, cache, b),
                            .values = entry_of<std::uint8_t>(cache.values, cache, b),
                            .tiles = cache.keys.dim(2),
                            .table = table_of(cache, b)};
  if (cache.exact.has_value()) tiles.exact = cache.exact.data<float>() + b * cache.exact.stride(0);
  return tiles;
}

CacheTileBytes cache_tile_bytes(Dtype dtype, Index D, Index Dv) noexcept {
  return {kernels::cache_key_bytes(format_of(dtype), D),
          kernels::cache_value_bytes(format_of(dtype), Dv)};
}

void check_cache_store(std::string_view operation, const ConstView& k, const ConstView& v,
                       const CacheSlice& cache, PerEntry at, PerEntry counts) {
  check_queries(operation, "k", k, 1, MayBeBf16::no);
  check_rank(operation, cache);
  check_heads(operation, "v", v, -1, -1, -1, -1, k.dtype());
  check_heads(operation, "k", k, -1, -1, cache.keys.dim(1), -1, k.dtype());
  check_cache(operation, cache, k, "v", v);
  check_heads(operation, "v", v, k.dim(0), k.dim(1), k.dim(2), -1, k.dtype());
  for (Index b = 0; b < k.dim(0); ++b) check_fits(operation, cache, at[b], at[b] + counts[b]);
}

void cache_store(Context& ctx, std::string_view operation, const ConstView& k, const ConstView& v,
                 const CacheSlice& cache, PerEntry at, PerEntry counts, PerEntry skipped) {
  check_cache_store(operation, k, v, cache, at, counts);
  const auto run = k.dtype() == Dtype::f32 ? &store<float> : &store<double>;
  run(ctx, k, v, cache, at, counts, skipped);
}

void cache_store(Context& ctx, std::string_view operation, const ConstView& k, const ConstView& v,
                 const CacheSlice& cache, Index at) {
  core::require_shape(operation, "k", k, {-1, -1, -1, -1});
  cache_store(ctx, operation, k, v, cache, at, k.dim(1));
}

}  // namespace grouphead::ops
