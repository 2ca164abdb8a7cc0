#pragma once

// Sequences that are fed to caches, alone and together.

#include <algorithm>
#include <limits>
#include <string>
#include <vector>

#include "attention_support.h"
#include "grouphead/attention.h"
#include "grouphead/core/tensor_functions.h"

namespace grouphead::testing_support {

enum class CacheForm { contiguous, ring, paged };

inline std::string name_of_form(CacheForm form) {
  return form == CacheForm::contiguous ? "contiguous" : form == CacheForm::ring ? "ring" : "paged";
}

/// Sequences of random queries, keys and values.
struct Sequences {
  static constexpr Index kLayer = 1;  // of two
  AttentionCase sizes;                // T and S are positions of each sequence
  AttentionInputs all;
  std::vector<Index> source{};  // which of them each sequence of a cache has; empty: its own

  explicit Sequences(const AttentionCase& c, Dtype dtype = Dtype::f32)
      : sizes(c), all(make_inputs(c, dtype)) {}

  KvCacheConfig config(CacheForm form, Index batch, Dtype stored, Index window = 0) const {
    KvCacheConfig config{.num_layers = 2,
                         .batch = batch,
                         .num_key_value_heads = sizes.Hkv,
                         .head_dim = sizes.D,
                         .capacity = sizes.S,
                         .dtype = stored,
                         .value_dim = sizes.Dv};
    if (form == CacheForm::ring) config.window = window;
    if (form == CacheForm::paged) config.num_blocks = batch * ((sizes.S + 63) / 64);
    return config;
  }

  /// Rows [begins[b], begins[b] + counts[b]) of each sequence, NaN behind them.
  Tensor rows(const Tensor& x, const std::vector<Index>& begins,
              const std::vector<Index>& counts) const {
    const Index T = *std::max_element(counts.begin(), counts.end());
    Tensor part({static_cast<Index>(begins.size()), T, x.dim(2), x.dim(3)}, x.dtype());
    std::fill_n(static_cast<std::uint8_t*>(part.view().raw()), part.bytes(), std::uint8_t{0xff});
    for (std::size_t b = 0; b < begins.size(); ++b) {
      const auto i = static_cast<Index>(b);
      const Index from = source.empty() ? i : source[b];
      copy(x.view().slice(0, from, from + 1).slice(1, begins[b], begins[b] + counts[b]),
           part.view().slice(0, i, i + 1).slice(1, 0, counts[b]));
    }
    return part;
  }

  /// decode() of the next counts[b] positions of each sequence of the cache, and advances it.
  Tensor feed(Context& ctx, KvCache& cache, const std::vector<Index>& counts,
              const AttentionOptions& options) const {
    const std::vector<Index> begins(cache.lengths().begin(), cache.lengths().end());
    const Tensor q = rows(all.q, begins, counts);
    Tensor out({q.dim(0), q.dim(1), sizes.Hq, sizes.Dv}, q.dtype());
    decode(ctx, q, rows(all.k, begins, counts), rows(all.v, begins, counts), cache, kLayer, options,
           out, counts);
    cache.advance(counts);
    return out;
  }

  /// The same of sequence b alone, which is sequence 0 of its cache.
  Tensor feed_one(Context& ctx, KvCache& cache, Index b, Index count,
                  const AttentionOptions& options) const {
    const Index begin = cache.length();
    const auto part = [&](const Tensor& x) {
      return x.view().slice(0, b, b + 1).slice(1, begin, begin + count);
    };
    Tensor out({1, count, sizes.Hq, sizes.Dv}, all.q.dtype());
    decode(ctx, part(all.q), part(all.k), part(all.v), cache, kLayer, options, out);
    cache.advance(count);
    return out;
  }
};

/// Entry b, rows [0, count).
inline Tensor entry(const Tensor& x, Index b, Index count) {
  Tensor part({1, count, x.dim(2), x.dim(3)}, x.dtype());
  copy(x.view().slice(0, b, b + 1).slice(1, 0, count), part);
  return part;
}

}  // namespace grouphead::testing_support
