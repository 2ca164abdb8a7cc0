// Attention to what a cache holds.

#include <cstring>
#include <string>
#include <type_traits>

#include "core/check.h"
#include "ops/cached.h"

namespace grouphead::ops {
namespace {

using kernels::AttentionKernels;
using kernels::AttentionProblem;
using kernels::kPackKeys;
using kernels::kPanelKeys;

// Up to kMostDecodeRows one pass over the keys per row costs less than the forward's packing of
// rows, and the keys can be split among threads. By shape alone: the choice shows in the last bits.
static_assert(kMostDecodeRows <= kernels::kCacheRows);

// One batch entry of a call.
template <class F>
struct CachedEntry {
  AttentionProblem<F> p;
  kernels::CacheTiles tiles;  // in 16 or 8 bits
  Tensor fully_masked;
  Tensor keys, values;  // what the forward reads, where it cannot read the cache
  bool decodes = false;
  F* partials = nullptr;
  Index first_unit = 0;
};

// The options are the whole call's; `p` is a new one.
template <class F>
void set_problem(const ConstView& q, const CacheSlice& cache, const CachedRows& rows,
                 const AttentionOptions& options, const View& out, Index b,
                 AttentionProblem<F>& p) {
  p.whole = {
      .T = q.dim(1), .S = rows.num_keys, .first_place = b * q.dim(2) * q.dim(1) + rows.skipped[b]};
  p.B = 1, p.T = rows.counts[b], p.Hq = q.dim(2), p.D = q.dim(3);
  p.S = rows.lengths[b], p.Hkv = cache.keys.dim(1), p.Dv = out.dim(3);
  p.q = heads_of<F>(q), p.out = mutable_heads_of<F>(out);
  const Index skipped = rows.skipped[b];
  p.q.data += b * p.q.batch + skipped * p.q.time;
  p.out.data += b * p.out.batch + skipped * p.out.time;
  set_options(options, p);
  p.causal_offset = clamped_offset(rows.first[b]);
  for (Index i = 0; i < p.num_masks; ++i) p.masks[i].data = p.masks[i].row(b, 0, skipped);
  if (p.bias.data != nullptr) p.bias.data = p.bias.row(b, 0, skipped);
}

// Leaves out whole chunks of keys in front of the window. Chunks and tiles stay where they are, so
// the bits do.
template <class F>
void skip_hidden_keys(AttentionProblem<F>& p, kernels::TileTable& table) {
  static_assert(kernels::kDecodeKeys % 512 == 0 && kernels::kDecodeKeys % kPackKeys == 0);
  if (!p.has_left_window() || p.fully_masked.data != nullptr) return;
  const Index skipped = p.begin_at(0) / kernels::kDecodeKeys * kernels::kDecodeKeys;
  p.S -= skipped;
  p.causal_offset -= skipped;
  p.whole.first_key = skipped;
  for (Index i = 0; i < p.num_masks; ++i) p.masks[i].data += skipped * p.masks[i].key;
  if (p.bias.data != nullptr) p.bias.data += skipped * p.bias.key;
  table.first = skipped / kPackKeys;
}

template <class F>
void set_entry(Context& ctx, const ConstView& q, const CacheSlice& cache, const CachedRows& rows,
               const AttentionOptions& options, const View& out, Index b, CachedEntry<F>& e) {
  set_problem(q, cache, rows, options, out, b, e.p);
  e.fully_masked = note_fully_masked_queries(ctx, options, e.p);
  const PerEntry& deciding = rows.kernel_counts ? *rows.kernel_counts : rows.counts;
  e.decodes = e.p.rows() > 0 && deciding[b] * e.p.group() <= kMostDecodeRows;
  if (has_tiles(cache)) {
    e.tiles = tiles_of(cache, b);
  } else {
    e.p.packed = packed_of<F>(cache, b);
  }
  skip_hidden_keys(e.p, has_tiles(cache) ? e.tiles.table : e.p.packed.table);
}

// Chunks of keys that an entry ever has: while a cache fills, the same memory serves every step.
Index most_chunks(const CacheSlice& cache) {
  if (cache.ring > 0) return cache.ring * kPackKeys / kernels::kDecodeKeys + 2;
  return kernels::ceil_div(capacity_of(cache), kernels::kDecodeKeys);
}

// kernel(entry, unit, partial, scratch) for all chunks of the entries that decode.
template <class F, class Kernel>
void decode(Context& ctx, std::span<CachedEntry<F>> entries, const CacheSlice& cache,
            Index (*scratch_of)(const AttentionProblem<F>&) noexcept, const Kernel& kernel) {
  const AttentionKernels<F>& table = kernels_of<F>(ctx);
  const Index heads = cache.keys.dim(1);
  Index memory = 0;
  Index scratch = 0;
  double flops = 0;
  for (const CachedEntry<F>& e : entries) {
    if (!e.decodes) continue;
    memory += heads * most_chunks(cache) * kernels::decode_partial_size(e.p);
    scratch = std::max(scratch, scratch_of(e.p));
    flops += forward_flops(e.p);
  }
  if (memory == 0) return;
  Tensor partials = ctx.tensor({memory}, kDtypeOf<F>);
  F* next = partials.data<F>();
  for (CachedEntry<F>& e : entries) {
    if (!e.decodes) continue;
    e.partials = next;
    next += heads * most_chunks(cache) * kernels::decode_partial_size(e.p);
  }
  Progress done(ctx, static_cast<Index>(entries.size()) * heads);
  reserve_scratch<F>(ctx, scratch);
  // The last unit of a head merges its partial results, whose order is fixed.
  const auto units = [&](const CachedEntry<F>& e) {
    return e.decodes ? heads * kernels::decode_chunks(e.p) : 0;
  };
  for_entry_units(ctx, entries, flops, units, [&](CachedEntry<F>& e, Index unit, int slot) {
    const Index chunks = kernels::decode_chunks(e.p);
    const Index n = unit / chunks;
    kernel(e, unit, e.partials + unit * kernels::decode_partial_size(e.p),
           ctx.impl().scratch<F>(slot, scratch));
    const Index head = (&e - entries.data()) * heads + n;
    if (done.add(head) == chunks) table.decode_merge(e.p, n, e.partials);
  });
  for (const CachedEntry<F>& e : entries) {
    if (!e.decodes || kernels::decode_chunks(e.p) > 0) continue;
    for (Index n = 0; n < heads; ++n) table.decode_merge(e.p, n, e.partials);
  }
}

// Memory in order for the entry's keys and values, for the forward. A little more than there are,
// so that the next calls find it.
template <class F>
kernels::PackedHeads<F> memory_in_order(Context& ctx, CachedEntry<F>& e) {
  const Index capacity = kernels::round_up(e.p.S, kernels::kDecodeKeys);
  const Index width = kernels::round_up(e.p.Dv, kPanelKeys);
  e.keys = ctx.tensor({e.p.Hkv, capacity, e.p.D}, kDtypeOf<F>);
  e.values = ctx.tensor({e.p.Hkv, capacity, width}, kDtypeOf<F>);
  return {e.keys.template data<F>(), e.values.template data<F>(), capacity};
}

// Copies one tile of one head.
template <class F>
void copy_tile(const AttentionProblem<F>& p, const kernels::PackedHeads<F>& from, Index unit) {
  const Index tiles = kernels::pack_tiles(p, Index{0});
  const Index n = unit / tiles, tile = unit % tiles;
  const auto copy = [&](const F* x, F* to, Index width) {
    const Index first = n * from.capacity + from.table.place(tile) * kPackKeys;
    std::memcpy(to + (n * p.packed.capacity + tile * kPackKeys) * width, x + first * width,
                static_cast<std::size_t>(kPackKeys * width) * sizeof(F));
  };
  copy(from.keys, p.packed.keys, p.D);
  copy(from.values, p.packed.values, kernels::round_up(p.Dv, kPanelKeys));
}

// Puts the keys and values of the entries that prefill where the forward can read them.
template <class F>
void put_in_order(Context& ctx, std::span<CachedEntry<F>> entries, const CacheSlice& cache) {
  const bool in_order = !cache.slots.has_value() && cache.ring == 0;
  const bool narrow = has_tiles(cache);
  if (in_order && !narrow) {
    for (CachedEntry<F>& e : entries) {
      kernels::PackedHeads<F>& packed = e.p.packed;
      const Index skipped = packed.table.first * kPackKeys;
      packed.keys += skipped * e.p.D;
      packed.values += skipped * kernels::round_up(e.p.Dv, kPanelKeys);
      packed.table = {};
    }
    return;
  }
  ContextArray<kernels::PackedHeads<F>> stored(ctx, static_cast<Index>(entries.size()));
  double flops = 0;
  for (CachedEntry<F>& e : entries) {
    if (e.decodes || e.p.rows() == 0) continue;
    stored.values()[static_cast<std::size_t>(&e - entries.data())] = e.p.packed;
    e.p.packed = memory_in_order(ctx, e);
    flops += forward_flops(e.p);
  }
  const auto units = [](const CachedEntry<F>& e) {
    return e.decodes || e.p.rows() == 0 ? 0 : e.p.Hkv * kernels::pack_tiles(e.p, Index{0});
  };
  for_entry_units(ctx, entries, flops, units, [&](const CachedEntry<F>& e, Index unit, int) {
    if constexpr (std::is_same_v<F, float>) {
      if (narrow) {
        const auto level = static_cast<kernels::Level>(ctx.isa());
        return kernels::cache_kernels(level, e.tiles.format).widen(e.p, e.tiles, unit);
      }
    }
    copy_tile(e.p, stored.values()[static_cast<std::size_t>(&e - entries.data())], unit);
  });
}

template <class F>
void prefill(Context& ctx, std::span<CachedEntry<F>> entries, const CacheSlice& cache) {
  const auto prefills = [](const CachedEntry<F>& e) { return !e.decodes && e.p.rows() > 0; };
  if (std::none_of(entries.begin(), entries.end(), prefills)) return;
  put_in_order(ctx, entries, cache);
  const AttentionKernels<F>& table = kernels_of<F>(ctx);
  Index scratch = 0;
  double flops = 0;
  for (const CachedEntry<F>& e : entries) {
    if (!prefills(e)) continue;
    scratch = std::max(scratch, table.forward_scratch(e.p));
    flops += forward_flops(e.p);
  }
  reserve_scratch<F>(ctx, scratch);
  const auto units = [&](const CachedEntry<F>& e) {
    return prefills(e) ? kernels::forward_units(e.p) : 0;
  };
  for_entry_units(ctx, entries, flops, units, [&](const CachedEntry<F>& e, Index unit, int slot) {
    table.forward(e.p, unit, ctx.impl().scratch<F>(slot, scratch));
  });
}

template <class F>
void attend(Context& ctx, const ConstView& q, const CacheSlice& cache, const CachedRows& rows,
            const AttentionOptions& options, const View& out) {
  ContextArray<CachedEntry<F>> array(ctx, q.dim(0));
  const std::span<CachedEntry<F>> entries = array.values();
  for (Index b = 0; b < q.dim(0); ++b) {
    set_entry(ctx, q, cache, rows, options, out, b, entries[static_cast<std::size_t>(b)]);
  }
  if (has_tiles(cache)) {
    if constexpr (std::is_same_v<F, float>) {
      const kernels::CacheKernels& table = kernels::cache_kernels(
          static_cast<kernels::Level>(ctx.isa()), format_of(cache.keys.dtype()));
      decode(ctx, entries, cache, table.decode_scratch,
             [&](const CachedEntry<F>& e, Index unit, F* partial, F* scratch) {
               table.decode(e.p, e.tiles, unit, partial, scratch);
             });
    }
  } else {
    const AttentionKernels<F>& table = kernels_of<F>(ctx);
    decode(ctx, entries, cache, table.decode_scratch,
           [&](const CachedEntry<F>& e, Index unit, F* partial, F* scratch) {
             table.decode(e.p, unit, partial, scratch);
           });
  }
  prefill(ctx, entries, cache);
}

// What a ring still has must be all that the queries may see.
void check_kept(std::string_view operation, const CacheSlice& cache, const CachedRows& rows,
                const AttentionOptions& options, Index batch) {
  if (cache.ring == 0) return;
  if (options.masked_rows == MaskedRows::uniform) {
    core::throw_config_error(operation, "masked_rows", "zeros with a ring", "uniform");
  }
  for (Index b = 0; b < batch; ++b) {
    const Index kept = rows.kept[b];
    const Index most = rows.first[b] - kept;
    if (kept == 0 || rows.counts[b] == 0) continue;
    if (options.window_left && *options.window_left <= most) continue;
    core::throw_config_error(operation, "window_left",
                             "at most " + std::to_string(most) + ", as the ring keeps no more",
                             options.window_left ? std::to_string(*options.window_left) : "none");
  }
}

CachedRows all_rows(const ConstView& q, Index length, const AttentionOptions& options) {
  return {.lengths = length,
          .counts = q.rank() == 4 ? q.dim(1) : 0,
          .first = options.causal_offset,
          .num_keys = length};
}

}  // namespace

void check_attention_cached(std::string_view operation, const ConstView& q, const CacheSlice& cache,
                            const CachedRows& rows, const AttentionOptions& options,
                            const View& out) {
  check_rank(operation, cache);
  check_queries(operation, "q", q, cache.keys.dim(1), MayBeBf16::no);
  check_options(operation, options, q, rows.num_keys, Keys::cached);
  check_heads(operation, "out", out, q.dim(0), q.dim(1), q.dim(2), -1, q.dtype());
  check_cache(operation, cache, q, "out", out);
  for (Index b = 0; b < q.dim(0); ++b) check_fits(operation, cache, 0, rows.lengths[b]);
  check_kept(operation, cache, rows, options, q.dim(0));
}

void attention_cached(Context& ctx, std::string_view operation, const ConstView& q,
                      const CacheSlice& cache, const CachedRows& rows,
                      const AttentionOptions& options, const View& out) {
  check_attention_cached(operation, q, cache, rows, options, out);
  (q.dtype() == Dtype::f32 ? &attend<float> : &attend<double>)(ctx, q, cache, rows, options, out);
}

void attention_cached(Context& ctx, std::string_view operation, const ConstView& q,
                      const CacheSlice& cache, Index length, const AttentionOptions& options,
                      const View& out) {
  attention_cached(ctx, operation, q, cache, all_rows(q, length, options), options, out);
}

}  // namespace grouphead::ops
