// grouphead/attention.h's functions on a KvCache.

#include <algorithm>
#include <string>

#include "core/check.h"
#include "ops/attention_problem.h"
#include "ops/kv_cache_access.h"

namespace grouphead {
namespace {

using ops::KvCacheAccess;
using ops::PerEntry;

std::size_t at(Index i) { return static_cast<std::size_t>(i); }

// Rows of each sequence: `counts`, or T.
PerEntry checked_counts(std::string_view operation, const ConstView& x,
                        std::span<const Index> counts) {
  const Index T = x.dim(1);
  if (counts.empty()) return T;
  if (static_cast<Index>(counts.size()) != x.dim(0)) {
    core::throw_shape_error(operation, "counts", std::to_string(x.dim(0)) + " numbers",
                            std::to_string(counts.size()));
  }
  for (const Index count : counts) {
    if (count >= 0 && count <= T) continue;
    core::throw_shape_error(operation, "counts", "0 .. " + std::to_string(T),
                            std::to_string(count));
  }
  return counts;
}

// A call cut where a ring would overwrite what its own rows still see; in other caches one piece.
class Pieces {
 public:
  /// `offsets`: of each entry's first row among those of q, k and v.
  Pieces(Context& ctx, const KvCache& cache, PerEntry counts, PerEntry offsets)
      : cache_(cache), counts_(counts), offsets_(offsets), batch_(cache.config().batch) {
    numbers_ = ctx.tensor({4, batch_}, Dtype::i64);
    std::fill_n(row(kBegin), batch_ * 4, 0);
    for (Index b = 0; b < batch_; ++b) row(kEnd)[b] = cache.length(b);
  }
  /// Goes on to the next piece; false where there is none.
  bool next() noexcept {
    Index total = 0;
    for (Index b = 0; b < batch_; ++b) {
      const Index start = cache_.lengths()[at(b)];
      const Index begin = row(kBegin)[b] = row(kEnd)[b];
      const Index end = KvCacheAccess::piece_end(cache_, begin, start + counts_[b]);
      row(kEnd)[b] = end;
      row(kCount)[b] = end - begin;
      row(kSkipped)[b] = begin - start + offsets_[b];
      total += end - begin;
    }
    return total > 0;
  }
  std::span<const Index> begins() const { return span(kBegin); }
  std::span<const Index> ends() const { return span(kEnd); }
  std::span<const Index> counts() const { return span(kCount); }
  std::span<const Index> skipped() const { return span(kSkipped); }

 private:
  enum Row : int { kBegin, kEnd, kCount, kSkipped };
  Index* row(Row which) { return numbers_.data<Index>() + which * batch_; }
  std::span<const Index> span(Row which) const {
    return {numbers_.data<Index>() + which * batch_, at(batch_)};
  }

  const KvCache& cache_;
  PerEntry counts_, offsets_;
  Index batch_;
  Tensor numbers_;  // [4, B]
};

void store(Context& ctx, std::string_view operation, const ConstView& k, const ConstView& v,
           KvCache& cache, const ops::CacheSlice& slice, const Pieces& piece) {
  ops::cache_store(ctx, operation, k, v, slice, piece.begins(), piece.counts(), piece.skipped());
  for (Index b = 0; b < k.dim(0); ++b) {
    KvCacheAccess::note_stored(cache, b, piece.ends()[at(b)]);
  }
}

// A ring's window hides what it forgets; and no query sees what a later piece of its call stores.
void check_window(std::string_view operation, const KvCache& cache,
                  const AttentionOptions& options) {
  const Index window = cache.config().window;
  if (window > 0 && !options.causal && options.window_right.value_or(1) > 0) {
    core::throw_config_error(operation, "causal", "true with a ring", "false");
  }
  if (window == 0 || (options.window_left && *options.window_left < window)) return;
  core::throw_config_error(operation, "window_left",
                           "at most " + std::to_string(window - 1) + ", as the cache has window " +
                               std::to_string(window),
                           options.window_left ? std::to_string(*options.window_left) : "none");
}

// decode() of the rows of q, k and v that each entry has, after the checks of the caller.
void decode_entries(Context& ctx, std::string_view operation, const ConstView& q,
                    const ConstView& k, const ConstView& v, KvCache& cache, Index layer,
                    const AttentionOptions& options, const View& out, PerEntry rows,
                    PerEntry offsets) {
  const ops::CacheSlice slice = ops::slice_of(cache, layer);
  check_window(operation, cache, options);
  ops::check_cache_store(operation, k, v, slice, cache.lengths(), rows);
  // Before anything changes: of these rows only the numbers of keys and queries count.
  ops::CachedRows call{.lengths = 0, .counts = rows, .first = 0};
  call.num_keys = cache.length() + q.dim(1);
  ops::check_attention_cached(operation, q, slice, call, options, out);
  KvCacheAccess::make_room(operation, cache, rows);
  Pieces piece(ctx, cache, rows, offsets);
  while (piece.next()) {
    store(ctx, operation, k, v, cache, slice, piece);
    call = {.lengths = piece.ends(),
            .counts = piece.counts(),
            .first = piece.begins(),
            .kept = KvCacheAccess::kept(cache),
            .skipped = piece.skipped(),
            .num_keys = call.num_keys,
            .kernel_counts = rows};
    ops::attention_cached(ctx, operation, q, slice, call, options, out);
  }
}

// [1, N, H, D] as every entry of a batch sees it.
ConstView for_each_entry(const ConstView& x, Index batch) {
  return {x.raw(), x.dtype(), Shape{batch, x.dim(1), x.dim(2), x.dim(3)},
          Strides{0, x.stride(1), x.stride(2), x.stride(3)}};
}
View for_each_entry(const View& x, Index batch) {
  return {x.raw(), x.dtype(), Shape{batch, x.dim(1), x.dim(2), x.dim(3)},
          Strides{0, x.stride(1), x.stride(2), x.stride(3)}};
}

}  // namespace

void decode(Context& ctx, ConstView q, ConstView k, ConstView v, KvCache& cache, Index layer,
            const AttentionOptions& options, View out, std::span<const Index> counts) {
  constexpr std::string_view kName = "decode";
  if (options.causal_offset != 0) {
    core::throw_config_error(kName, "causal_offset", "0, as the cache knows its positions",
                             std::to_string(options.causal_offset));
  }
  core::require_shape(kName, "q", q, {-1, -1, -1, -1});
  core::require_shape(kName, "k", k, {q.dim(0), q.dim(1), -1, -1});
  decode_entries(ctx, kName, q, k, v, cache, layer, options, out, checked_counts(kName, q, counts),
                 0);
  for (Index b = 0; b < q.dim(0) && !counts.empty(); ++b) {
    fill_zero(out.slice(0, b, b + 1).slice(1, counts[at(b)], q.dim(1)));
  }
}

void ops::decode_packed(Context& ctx, const ConstView& q, const ConstView& k, const ConstView& v,
                        KvCache& cache, Index layer, const AttentionOptions& options,
                        const View& out, std::span<const SequenceRows> rows) {
  constexpr std::string_view kName = "decode";
  const Index batch = cache.config().batch;
  Tensor numbers = ctx.zeros({2, batch}, Dtype::i64);
  auto* counts = numbers.data<Index>();
  Index* offsets = counts + batch;
  Index next = 0;
  for (const SequenceRows& of : rows) {
    static_cast<void>(cache.length(of.sequence));  // throws for one that is not there
    if (of.count < 1 || counts[of.sequence] > 0) {
      core::throw_shape_error(kName, "rows", "some of each sequence, once", "others");
    }
    counts[of.sequence] = of.count;
    offsets[of.sequence] = next;
    next += of.count;
  }
  for (const ConstView& x : {q, k, v, ConstView(out)}) {
    core::require_dense(kName, "rows", x, {1, next, -1, -1}, q.dtype());
  }
  decode_entries(ctx, kName, for_each_entry(q, batch), for_each_entry(k, batch),
                 for_each_entry(v, batch), cache, layer, options, for_each_entry(out, batch),
                 std::span<const Index>(counts, at(batch)),
                 std::span<const Index>(offsets, at(batch)));
}

void store_cached(Context& ctx, ConstView k, ConstView v, KvCache& cache, Index layer,
                  std::span<const Index> counts) {
  constexpr std::string_view kName = "store_cached";
  const ops::CacheSlice slice = ops::slice_of(cache, layer);
  core::require_shape(kName, "k", k, {-1, -1, -1, -1});
  const PerEntry rows = checked_counts(kName, k, counts);
  ops::check_cache_store(kName, k, v, slice, cache.lengths(), rows);
  KvCacheAccess::make_room(kName, cache, rows);
  Pieces piece(ctx, cache, rows, 0);
  while (piece.next()) store(ctx, kName, k, v, cache, slice, piece);
}

void attention_cached(Context& ctx, ConstView q, const KvCache& cache, Index layer,
                      const AttentionOptions& options, View out) {
  constexpr std::string_view kName = "attention_cached";
  // The kernels' views are mutable; this call only reads.
  const ops::CacheSlice slice = ops::slice_of(const_cast<KvCache&>(cache), layer);
  core::require_shape(kName, "q", q, {cache.config().batch, -1, -1, -1});
  ops::attention_cached(ctx, kName, q, slice,
                        {.lengths = cache.lengths(),
                         .counts = q.dim(1),
                         .first = options.causal_offset,
                         .kept = KvCacheAccess::kept(cache),
                         .num_keys = cache.length()},
                        options, out);
}

}  // namespace grouphead
