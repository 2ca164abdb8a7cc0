#include <string>

#include "core/check.h"
#include "kernels/attention/cache.h"
#include "ops/attention.h"
#include "ops/attention_problem.h"

namespace grouphead {
namespace ops {
namespace {

using kernels::AttentionKernels;
using kernels::AttentionProblem;
using kernels::kPanelKeys;

// Up to kMostDecodeRows one pass over the keys per row costs less than the forward's packing of
// rows, and the keys can be split among threads. By shape alone: the choice shows in the last bits.
static_assert(kMostDecodeRows <= kernels::kCacheRows);

bool has_tiles(const CacheSlice& cache) {
  return cache.keys.dtype() == Dtype::bf16 || cache.keys.dtype() == Dtype::u8;
}

Index capacity_of(const CacheSlice& cache) {
  return cache.keys.dim(2) * (has_tiles(cache) ? kernels::kPackKeys : kPanelKeys);
}

// The cache's values tell Dv only rounded up; the other operand knows it.
void check_value_width(std::string_view operation, std::string_view operand,
                       const CacheSlice& cache, Index dv) {
  const Index width = cache.values.dim(3);
  if (dv < 1 || kernels::round_up(dv, kPanelKeys) != width) {
    detail::throw_shape_error(operation, operand,
                              "a head dim that rounds up to " + std::to_string(width),
                              std::to_string(dv));
  }
}

// Of a cache in 16 or 8 bits.
void check_tiles(std::string_view operation, const CacheSlice& cache, Index batch, Index d,
                 Index dv, Dtype dtype) {
  if (dtype != Dtype::f32) {
    detail::throw_shape_error(operation, "keys", name_of(dtype), name_of(cache.keys.dtype()));
  }
  const Dtype stored = cache.keys.dtype();
  const CacheTileBytes bytes = cache_tile_bytes(stored, d, dv);
  const Index heads = cache.keys.dim(1);
  const Index tiles = cache.keys.dim(2);
  detail::require_dense(operation, "keys", cache.keys,
                        {batch, heads, -1, bytes.keys / size_of(stored)}, stored);
  detail::require_dense(operation, "values", cache.values,
                        {batch, heads, tiles, bytes.values / size_of(stored)}, stored);
  if (stored != Dtype::u8) return;
  detail::require_dense(operation, "exact keys", cache.exact, {batch, heads, kernels::kPackKeys, d},
                        Dtype::f32);
  detail::require_dense(operation, "tile of the exact keys", cache.exact_tile, {1}, Dtype::i64);
}

void check_rank(std::string_view operation, const CacheSlice& cache) {
  if (has_tiles(cache)) {
    detail::require_shape(operation, "keys", cache.keys, {-1, -1, -1, -1});
  } else {
    detail::require_shape(operation, "keys", cache.keys, {-1, -1, -1, -1, kPanelKeys});
  }
}

void check_cache(std::string_view operation, const CacheSlice& cache, ConstView x,
                 std::string_view value_operand, ConstView values) {
  const Index batch = x.dim(0);
  const Index d = x.dim(3);
  if (has_tiles(cache)) {
    return check_tiles(operation, cache, batch, d, values.dim(3), x.dtype());
  }
  detail::require_shape(operation, "keys", cache.keys, {batch, -1, -1, d, kPanelKeys});
  const Index heads = cache.keys.dim(1);
  const Index capacity = cache.keys.dim(2) * kPanelKeys;
  detail::require_dense(operation, "keys", cache.keys, {batch, heads, -1, d, kPanelKeys},
                        x.dtype());
  detail::require_dense(operation, "values", cache.values, {batch, heads, capacity, -1}, x.dtype());
  check_value_width(operation, value_operand, cache, values.dim(3));
}

void check_fits(std::string_view operation, const CacheSlice& cache, Index begin, Index end) {
  const Index capacity = capacity_of(cache);
  if (begin < 0 || end > capacity) {
    detail::throw_shape_error(operation, "positions", "within 0 .. " + std::to_string(capacity),
                              std::to_string(begin) + " .. " + std::to_string(end));
  }
}

// Whether the decode kernels know all that the options ask for.
bool suits_decode(const AttentionOptions& options) noexcept {
  return !options.mask.has_value() && !options.key_mask.has_value() &&
         !options.query_mask.has_value() && !options.bias.has_value() && !options.softcap &&
         !options.alibi_slopes.has_value() && options.masked_rows == MaskedRows::zeros &&
         options.dropout_rate == 0;
}

kernels::CacheFormat format_of(Dtype dtype) noexcept {
  return dtype == Dtype::bf16 ? kernels::CacheFormat::bf16 : kernels::CacheFormat::int8;
}

kernels::CacheTiles tiles_of(const CacheSlice& cache) {
  const auto bytes = [](const View& view) { return static_cast<std::uint8_t*>(view.raw()); };
  kernels::CacheTiles tiles{format_of(cache.keys.dtype()), bytes(cache.keys), bytes(cache.values),
                            cache.keys.dim(2)};
  if (cache.exact.has_value()) tiles.exact = cache.exact.data<float>();
  return tiles;
}

const kernels::CacheKernels& cache_kernels_of(Context& ctx, const CacheSlice& cache) noexcept {
  return kernels::cache_kernels(static_cast<kernels::Level>(ctx.isa()),
                                format_of(cache.keys.dtype()));
}

template <class F>
kernels::PackedHeads<F> packed_of(const CacheSlice& cache) {
  return {cache.keys.data<F>(), cache.values.data<F>(), cache.keys.dim(2) * kPanelKeys};
}

template <class F>
AttentionProblem<F> problem_of_store(ConstView k, ConstView v) {
  AttentionProblem<F> p;
  p.B = k.dim(0), p.S = k.dim(1), p.Hkv = k.dim(2), p.D = k.dim(3), p.Dv = v.dim(3);
  p.k = heads_of<F>(k), p.v = heads_of<F>(v);
  return p;
}

// pack(unit) for all tiles.
template <class F, class Pack>
void store(Context& ctx, const AttentionProblem<F>& p, Index at, const Pack& pack) {
  constexpr double kCostOfMove = 16;  // moving one element takes as long as so many flops
  const auto moved = static_cast<double>(p.B * p.S * p.Hkv * (p.D + p.Dv));
  for_units(ctx, p.B * kernels::pack_tiles(p, at), kCostOfMove * moved,
            [&](Index unit, int) { pack(unit); });
}

void store_tiles(Context& ctx, ConstView k, ConstView v, const CacheSlice& cache, Index at) {
  const auto p = problem_of_store<float>(k, v);
  if (p.S == 0) return;
  const kernels::CacheTiles tiles = tiles_of(cache);
  const bool keeps = tiles.exact != nullptr;
  if (keeps && at % kernels::kPackKeys != 0 &&
      *cache.exact_tile.data<Index>() != at / kernels::kPackKeys) {
    kernels::cache_reopen(p, tiles, at);
  }
  store(ctx, p, at, [&](Index unit) { kernels::cache_store(p, tiles, at, unit); });
  if (!keeps) return;
  kernels::cache_keep(p, tiles, at);
  *cache.exact_tile.data<Index>() = (at + p.S - 1) / kernels::kPackKeys;
}

// kernel(unit, partial, scratch) for all chunks.
template <class F, class Kernel>
void decode(Context& ctx, const AttentionProblem<F>& p, Index capacity, Index scratch,
            const Kernel& kernel) {
  const AttentionKernels<F>& table = kernels_of<F>(ctx);
  const Index heads = p.B * p.Hkv;
  const Index chunks = kernels::decode_chunks(p);
  const Index size = kernels::decode_partial_size(p);
  // For the capacity: while the cache fills, the same memory serves every step.
  const Index most_chunks = kernels::ceil_div(capacity, kernels::kDecodeKeys);
  Tensor partials = ctx.tensor({heads, most_chunks, size}, kDtypeOf<F>);
  Progress done(ctx, heads);
  reserve_scratch<F>(ctx, scratch);
  // The last unit of a head merges its partial results, whose order is fixed.
  for_units(ctx, heads * chunks, forward_flops(p), [&](Index unit, int slot) {
    kernel(unit, partials.data<F>() + unit * size, ctx.impl().scratch<F>(slot, scratch));
    const Index bn = unit / chunks;
    if (done.add(bn) == chunks) table.decode_merge(p, bn, partials.data<F>());
  });
  if (chunks > 0) return;
  for (Index bn = 0; bn < heads; ++bn) table.decode_merge(p, bn, partials.data<F>());
}

template <class F>
AttentionProblem<F> problem_of_cached(ConstView q, const CacheSlice& cache, Index length,
                                      const AttentionOptions& options, View out) {
  AttentionProblem<F> p;
  p.B = q.dim(0), p.T = q.dim(1), p.Hq = q.dim(2), p.D = q.dim(3);
  p.S = length, p.Hkv = cache.keys.dim(1), p.Dv = out.dim(3);
  p.q = heads_of<F>(q), p.out = mutable_heads_of<F>(out);
  set_options(options, p);
  return p;
}

template <class F>
void prefill(Context& ctx, const AttentionProblem<F>& p) {
  const AttentionKernels<F>& table = kernels_of<F>(ctx);
  const Index scratch = table.forward_scratch(p);
  reserve_scratch<F>(ctx, scratch);
  for_units(ctx, kernels::forward_units(p), forward_flops(p), [&](Index unit, int slot) {
    table.forward(p, unit, ctx.impl().scratch<F>(slot, scratch));
  });
}

template <class F>
void cached(Context& ctx, AttentionProblem<F> p, const CacheSlice& cache, bool decodes) {
  p.packed = packed_of<F>(cache);
  if (!decodes) return prefill(ctx, p);
  const AttentionKernels<F>& table = kernels_of<F>(ctx);
  decode(ctx, p, p.packed.capacity, table.decode_scratch(p),
         [&](Index unit, F* partial, F* scratch) { table.decode(p, unit, partial, scratch); });
}

void cached_tiles(Context& ctx, AttentionProblem<float> p, const CacheSlice& cache, bool decodes) {
  const kernels::CacheKernels& table = cache_kernels_of(ctx, cache);
  const kernels::CacheTiles tiles = tiles_of(cache);
  const Index capacity = capacity_of(cache);
  if (decodes) {
    return decode(ctx, p, capacity, table.decode_scratch(p),
                  [&](Index unit, float* partial, float* scratch) {
                    table.decode(p, tiles, unit, partial, scratch);
                  });
  }
  // For the capacity, as the memory of partial results.
  Tensor keys = ctx.tensor({p.B * p.Hkv, capacity, p.D});
  Tensor values = ctx.tensor({p.B * p.Hkv, capacity, kernels::round_up(p.Dv, kernels::kPanelKeys)});
  p.packed = {keys.data<float>(), values.data<float>(), capacity};
  for_units(ctx, p.B * p.Hkv * kernels::pack_tiles(p, Index{0}), forward_flops(p),
            [&](Index unit, int) { table.widen(p, tiles, unit); });
  prefill(ctx, p);
}

template <class F>
void cached(Context& ctx, ConstView q, const CacheSlice& cache, Index length,
            const AttentionOptions& options, View out) {
  AttentionProblem<F> p = problem_of_cached<F>(q, cache, length, options, out);
  if (p.rows() == 0) return;
  const bool decodes = p.rows() <= kMostDecodeRows && suits_decode(options);
  const Tensor fully_masked = note_fully_masked_queries(ctx, options, p);
  if constexpr (std::is_same_v<F, float>) {
    if (has_tiles(cache)) return cached_tiles(ctx, p, cache, decodes);
  }
  cached(ctx, p, cache, decodes);
}

}  // namespace

CacheTileBytes cache_tile_bytes(Dtype dtype, Index D, Index Dv) noexcept {
  return {kernels::cache_key_bytes(format_of(dtype), D),
          kernels::cache_value_bytes(format_of(dtype), Dv)};
}

void cache_store(Context& ctx, std::string_view operation, ConstView k, ConstView v,
                 const CacheSlice& cache, Index at) {
  check_queries(operation, "k", k, 1, MayBeBf16::no);
  check_rank(operation, cache);
  check_heads(operation, "v", v, -1, -1, -1, -1, k.dtype());
  check_heads(operation, "k", k, -1, -1, cache.keys.dim(1), -1, k.dtype());
  check_cache(operation, cache, k, "v", v);
  check_heads(operation, "v", v, k.dim(0), k.dim(1), k.dim(2), -1, k.dtype());
  check_fits(operation, cache, at, at + k.dim(1));
  if (has_tiles(cache)) return store_tiles(ctx, k, v, cache, at);
  const auto run = [&](auto zero) {
    using F = decltype(zero);
    auto p = problem_of_store<F>(k, v);
    p.packed = packed_of<F>(cache);
    store(ctx, p, at, [&](Index unit) { kernels_of<F>(ctx).pack(p, at, unit); });
  };
  k.dtype() == Dtype::f32 ? run(0.0F) : run(0.0);
}

void attention_cached(Context& ctx, std::string_view operation, ConstView q,
                      const CacheSlice& cache, Index length, const AttentionOptions& options,
                      View out) {
  check_rank(operation, cache);
  check_queries(operation, "q", q, cache.keys.dim(1), MayBeBf16::no);
  check_options(operation, options, q, length, Keys::cached);
  check_heads(operation, "out", out, q.dim(0), q.dim(1), q.dim(2), -1, q.dtype());
  check_cache(operation, cache, q, "out", out);
  check_fits(operation, cache, 0, length);
  q.dtype() == Dtype::f32 ? cached<float>(ctx, q, cache, length, options, out)
                          : cached<double>(ctx, q, cache, length, options, out);
}

}  // namespace ops

void decode(Context& ctx, ConstView q, ConstView k, ConstView v, KvCache& cache, Index layer,
            const AttentionOptions& options, View out) {
  constexpr std::string_view kName = "decode";
  if (options.causal_offset != 0) {
    detail::throw_config_error(kName, "causal_offset", "0, as the cache knows its positions",
                               std::to_string(options.causal_offset));
  }
  const ops::CacheSlice slice = ops::slice_of(cache, layer);
  const Index at = cache.length();
  detail::require_shape(kName, "q", q, {-1, -1, -1, -1});
  detail::require_shape(kName, "k", k, {-1, q.dim(1), -1, -1});
  ops::cache_store(ctx, kName, k, v, slice, at);
  AttentionOptions here = options;
  here.causal_offset = at;
  ops::attention_cached(ctx, kName, q, slice, at + q.dim(1), here, out);
}

void attention_cached(Context& ctx, ConstView q, const KvCache& cache, Index layer,
                      const AttentionOptions& options, View out) {
  // The kernels' views are mutable; this call only reads.
  const ops::CacheSlice slice = ops::slice_of(const_cast<KvCache&>(cache), layer);
  ops::attention_cached(ctx, "attention_cached", q, slice, cache.length(), options, out);
}

}  // namespace grouphead
