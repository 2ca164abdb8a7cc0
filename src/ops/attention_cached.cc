#include <string>

#include "core/check.h"
#include "ops/attention.h"
#include "ops/attention_problem.h"

namespace grouphead::ops {
namespace {

using kernels::AttentionKernels;
using kernels::AttentionProblem;
using kernels::kPanelKeys;

// Up to here one pass over the keys per row costs less than the forward's packing of rows, and the
// keys can be split among threads. By shape alone: the choice shows in the last bits.
constexpr Index kDecodeRows = 16;

void check_cache(std::string_view operation, const CacheSlice& cache, Index batch, Index d,
                 Dtype dtype) {
  detail::require_shape(operation, "keys", cache.keys, {batch, -1, -1, d, kPanelKeys});
  const Index heads = cache.keys.dim(1);
  const Index capacity = cache.keys.dim(2) * kPanelKeys;
  detail::require_dense(operation, "keys", cache.keys, {batch, heads, -1, d, kPanelKeys}, dtype);
  detail::require_dense(operation, "values", cache.values, {batch, heads, capacity, -1}, dtype);
}

void check_fits(std::string_view operation, const CacheSlice& cache, Index begin, Index end) {
  const Index capacity = cache.keys.dim(2) * kPanelKeys;
  if (begin < 0 || end > capacity) {
    detail::throw_shape_error(operation, "positions", "within 0 .. " + std::to_string(capacity),
                              std::to_string(begin) + " .. " + std::to_string(end));
  }
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

// What the decode kernel does not know must not pass unseen.
void check_cached_options(std::string_view operation, const AttentionOptions& options) {
  const auto refuse = [&](bool is_set, std::string_view name) {
    if (is_set) detail::throw_config_error(operation, name, "nothing, with a cache", "a value");
  };
  refuse(options.window != 0, "window");
  refuse(options.mask.has_value(), "mask");
  refuse(options.key_mask.has_value(), "key_mask");
  refuse(options.query_mask.has_value(), "query_mask");
  refuse(options.bias.has_value(), "bias");
  refuse(options.masked_rows != MaskedRows::zeros, "masked_rows");
  refuse(options.dropout_rate != 0, "dropout_rate");
}

template <class F>
kernels::PackedHeads<F> packed_of(const CacheSlice& cache) {
  return {cache.keys.data<F>(), cache.values.data<F>(), cache.keys.dim(2) * kPanelKeys};
}

template <class F>
void store(Context& ctx, ConstView k, ConstView v, const CacheSlice& cache, Index at) {
  AttentionProblem<F> p;
  p.B = k.dim(0), p.S = k.dim(1), p.Hkv = k.dim(2), p.D = k.dim(3), p.Dv = v.dim(3);
  p.k = heads_of<F>(k), p.v = heads_of<F>(v);
  p.packed = packed_of<F>(cache);
  const AttentionKernels<F>& table = kernels_of<F>(ctx);
  constexpr double kCostOfMove = 16;  // moving one element takes as long as so many flops
  const auto moved = static_cast<double>(k.size() + v.size());
  for_units(ctx, p.B * kernels::pack_tiles(p, at), kCostOfMove * moved,
            [&](Index unit, int) { table.pack(p, at, unit); });
}

template <class F>
void decode(Context& ctx, const AttentionProblem<F>& p, double flops) {
  const AttentionKernels<F>& table = kernels_of<F>(ctx);
  const Index heads = p.B * p.Hkv;
  const Index chunks = kernels::decode_chunks(p);
  const Index size = kernels::decode_partial_size(p);
  const Index scratch = table.decode_scratch(p);
  // For the capacity: while the cache fills, the same memory serves every step.
  const Index most_chunks = kernels::ceil_div(p.packed.capacity, kernels::kDecodeKeys);
  Tensor partials = ctx.tensor({heads, most_chunks, size}, kDtypeOf<F>);
  Progress done(ctx, heads);
  reserve_scratch<F>(ctx, scratch);
  // The last unit of a head merges its partial results, whose order is fixed.
  for_units(ctx, heads * chunks, flops, [&](Index unit, int slot) {
    table.decode(p, unit, partials.data<F>() + unit * size, ctx.impl().scratch<F>(slot, scratch));
    const Index bn = unit / chunks;
    if (done.add(bn) == chunks) table.decode_merge(p, bn, partials.data<F>());
  });
  if (chunks > 0) return;
  for (Index bn = 0; bn < heads; ++bn) table.decode_merge(p, bn, nullptr);
}

template <class F>
void cached(Context& ctx, ConstView q, const CacheSlice& cache, Index length,
            const AttentionOptions& options, View out) {
  AttentionProblem<F> p;
  p.B = q.dim(0), p.T = q.dim(1), p.Hq = q.dim(2), p.D = q.dim(3);
  p.S = length, p.Hkv = cache.keys.dim(1), p.Dv = out.dim(3);
  p.q = heads_of<F>(q), p.out = mutable_heads_of<F>(out);
  p.packed = packed_of<F>(cache);
  set_options(options, p);
  const double flops = forward_flops(p);
  if (p.rows() <= kDecodeRows) {
    if (p.rows() > 0) decode(ctx, p, flops);
    return;
  }
  const AttentionKernels<F>& table = kernels_of<F>(ctx);
  const Index scratch = table.forward_scratch(p);
  reserve_scratch<F>(ctx, scratch);
  for_units(ctx, kernels::forward_units(p), flops, [&](Index unit, int slot) {
    table.forward(p, unit, ctx.impl().scratch<F>(slot, scratch));
  });
}

}  // namespace

void cache_store(Context& ctx, ConstView k, ConstView v, const CacheSlice& cache, Index at) {
  constexpr std::string_view kName = "cache_store";
  check_queries(kName, "k", k, 1);
  check_cache(kName, cache, k.dim(0), k.dim(3), k.dtype());
  check_heads(kName, "k", k, -1, -1, cache.keys.dim(1), -1, k.dtype());
  check_heads(kName, "v", v, k.dim(0), k.dim(1), k.dim(2), -1, k.dtype());
  check_value_width(kName, "v", cache, v.dim(3));
  check_fits(kName, cache, at, at + k.dim(1));
  if (k.dtype() == Dtype::f32) {
    store<float>(ctx, k, v, cache, at);
  } else {
    store<double>(ctx, k, v, cache, at);
  }
}

void attention_cached(Context& ctx, ConstView q, const CacheSlice& cache, Index length,
                      const AttentionOptions& options, View out) {
  constexpr std::string_view kName = "attention_cached";
  detail::require_shape(kName, "keys", cache.keys, {-1, -1, -1, -1, kPanelKeys});
  check_cached_options(kName, options);
  check_queries(kName, "q", q, cache.keys.dim(1));
  check_cache(kName, cache, q.dim(0), q.dim(3), q.dtype());
  check_heads(kName, "out", out, q.dim(0), q.dim(1), q.dim(2), -1, q.dtype());
  check_value_width(kName, "out", cache, out.dim(3));
  check_fits(kName, cache, 0, length);
  if (q.dtype() == Dtype::f32) {
    cached<float>(ctx, q, cache, length, options, out);
  } else {
    cached<double>(ctx, q, cache, length, options, out);
  }
}

}  // namespace grouphead::ops
