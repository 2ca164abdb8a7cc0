// The attention core over a cache of keys and values.

#include <algorithm>
#include <string>

#include "core/check.h"
#include "nn/attention/core.h"
#include "nn/attention/saved_state.h"
#include "nn/decoding.h"
#include "nn/layer_checks.h"

namespace grouphead::nn {

// x of `projection`, and a cache of the layer's form.
void AttentionCore::require_cache(const Tensor& x, std::string_view operand,
                                  const Projection* projection, const KvCache& cache,
                                  Index batch) const {
  const AttentionSettings& s = settings_;
  nn::require_built(s.layer, is_built());
  const KvCacheConfig& fits = cache.config();
  if (fits.dtype != Dtype::bf16 && fits.dtype != Dtype::u8 && fits.dtype != dtype()) {
    core::throw_shape_error(s.layer, "cache", name_of(dtype()), name_of(fits.dtype));
  }
  core::require_shape(s.layer, "cache",
                      {fits.batch, fits.num_key_value_heads, fits.capacity / 16, fits.head_dim, 16},
                      {-1, s.num_key_value_heads, -1, s.key_dim, -1});
  if (fits.value_dim != s.value_dim) {
    core::throw_shape_error(s.layer, "cache", "value_dim " + std::to_string(s.value_dim),
                            std::to_string(fits.value_dim));
  }
  core::require_shape(s.layer, operand, x, {batch, -1, -1});
  core::require_dense(s.layer, operand, x, {batch, -1, projection->num_inputs()}, dtype());
}

// x [.., T, H, D] at positions from `first` on, `count` of which are used. The table holds all that
// the cache has room for: its steps then never wait for it to grow.
void AttentionCore::rotate_rows(Context& ctx, const KvCache& cache, Index first, Index count,
                                View x) const {
  const Index end = cache.length() + x.dim(1);
  const bool is_endless = cache.config().window > 0;
  const Index positions = is_endless ? end : std::max(end, cache.capacity());
  ops::rope(ctx, rope_tables_->covering(positions, first + count), first, ops::Direction::forward,
            x);
}

// The positions of each sequence go on where it ends.
void AttentionCore::rotate_cached(Context& ctx, Heads& heads, const KvCache& cache,
                                  std::span<const Index> counts) const {
  if (!rope_tables_) return;
  const Index T = heads.q.dim(1);
  const std::span<const Index> lengths = cache.lengths();
  const bool is_even =
      counts.empty() && std::equal(lengths.begin() + 1, lengths.end(), lengths.begin());
  for (Tensor* x : {&heads.q, &heads.k}) {
    if (is_even) rotate_rows(ctx, cache, lengths[0], T, *x);
    for (Index b = 0; b < x->dim(0) && !is_even; ++b) {
      const Index count = counts.empty() ? T : counts[static_cast<std::size_t>(b)];
      rotate_rows(ctx, cache, cache.length(b), count, x->view().slice(0, b, b + 1));
    }
    round(ctx, *x);
  }
}

void AttentionCore::require_no_positions(bool has_window) const {
  const auto refuse = [&](std::string_view option) {
    core::throw_config_error(settings_.layer, option, "none with a source", "some");
  };
  if (rope_tables_) refuse("rope");
  if (has_window) refuse("sliding_window");
}

AttentionOptions AttentionCore::cached_options(std::optional<Index> window) const {
  AttentionOptions options{.causal = true};
  if (window) options.window_left = *window - 1;
  set_logit_options(options);
  return options;
}

KvCache& AttentionCore::next_cache(Context& ctx, DecodingState& decoding) const {
  return decoding.next_cache(ctx, {.num_key_value_heads = settings_.num_key_value_heads,
                                   .head_dim = settings_.key_dim,
                                   .dtype = dtype(),
                                   .value_dim = settings_.value_dim});
}

Tensor AttentionCore::forward_cached(Context& ctx, const Tensor& x, KvCache& cache, Index layer,
                                     std::optional<Index> window,
                                     std::span<const Index> counts) const {
  require_cache(x, "query", query_.get(), cache, cache.config().batch);
  const Index left = cache.capacity() - cache.length();
  if (counts.empty() && x.dim(1) > left) {
    core::throw_shape_error(
        settings_.layer, "query",
        "at most " + std::to_string(left) + " positions, which the cache has left",
        std::to_string(x.dim(1)));
  }
  Heads heads = project(ctx, x, x, x);
  normalise(ctx, heads, nullptr);
  rotate_cached(ctx, heads, cache, counts);
  Tensor out = ctx.tensor({x.dim(0), x.dim(1), heads.q.dim(2), heads.v.dim(3)}, dtype());
  decode(ctx, heads.q, heads.k, heads.v, cache, layer, cached_options(window), out, counts);
  const Tensor passed = gated(ctx, out, heads.gate);
  return projected(ctx, *output_, passed, {x.dim(0), x.dim(1), output_->num_outputs()});
}

Tensor AttentionCore::forward_packed(Context& ctx, const Tensor& x, KvCache& cache, Index layer,
                                     std::optional<Index> window,
                                     std::span<const SequenceRows> rows) const {
  require_cache(x, "query", query_.get(), cache, 1);
  Heads heads = project(ctx, x, x, x);
  normalise(ctx, heads, nullptr);
  for (Tensor* one : {&heads.q, &heads.k}) {
    Index begin = 0;
    for (const SequenceRows& of : rows) {
      const View part = one->view().slice(1, begin, begin + of.count);
      if (rope_tables_) rotate_rows(ctx, cache, cache.length(of.sequence), of.count, part);
      begin += of.count;
    }
    if (rope_tables_) round(ctx, *one);
  }
  Tensor out = ctx.tensor({1, x.dim(1), heads.q.dim(2), heads.v.dim(3)}, dtype());
  ops::decode_packed(ctx, heads.q, heads.k, heads.v, cache, layer, cached_options(window), out,
                     rows);
  const Tensor passed = gated(ctx, out, heads.gate);
  return projected(ctx, *output_, passed, {1, x.dim(1), output_->num_outputs()});
}

void AttentionCore::store_source(Context& ctx, const Tensor& source, KvCache& cache, Index layer,
                                 std::span<const Index> counts) const {
  require_cache(source, "source", key_.get(), cache, cache.config().batch);
  const AttentionSettings& s = settings_;
  const Index batch = source.dim(0);
  const Index length = source.dim(1);
  Tensor k = projected(ctx, *key_, source, {batch, length, s.num_key_value_heads, s.key_dim});
  normalise(ctx, key_norm_.get(), nullptr, k);
  const Tensor v =
      projected(ctx, *value_, source, {batch, length, s.num_key_value_heads, s.value_dim});
  store_cached(ctx, k, v, cache, layer, counts);
}

Tensor AttentionCore::forward_source(Context& ctx, const Tensor& x, const KvCache& cache,
                                     Index layer) const {
  require_cache(x, "query", query_.get(), cache, cache.config().batch);
  const AttentionSettings& s = settings_;
  Heads heads;
  heads.q = projected(ctx, *query_, x, {x.dim(0), x.dim(1), s.num_query_heads, s.key_dim});
  normalise(ctx, query_norm_.get(), nullptr, heads.q);
  project_gate(ctx, x, heads);
  Tensor out = ctx.tensor({x.dim(0), x.dim(1), s.num_query_heads, s.value_dim}, dtype());
  AttentionOptions options;
  set_logit_options(options);
  attention_cached(ctx, heads.q, cache, layer, options, out);
  const Tensor passed = gated(ctx, out, heads.gate);
  return projected(ctx, *output_, passed, {x.dim(0), x.dim(1), output_->num_outputs()});
}

}  // namespace grouphead::nn
