#pragma once

#include "grouphead/context.h"

namespace grouphead::ops {

struct AttentionOptions {
  double scale = 0;  ///< on q k; 0: 1 / sqrt(D)
  bool causal = false;
  Index causal_offset = 0;  ///< key j is visible to query t iff j <= t + causal_offset
};

/// out = softmax(mask(scale q k^T)) v. Query head h reads key/value head h / G. A query that sees
/// nothing gives zeros and lse = +inf.
///
/// Shapes  q [B, T, Hq, D], k [B, S, Hkv, D], v [B, S, Hkv, Dv], out [B, T, Hq, Dv]: last axis
///         contiguous, other strides free; lse [B, Hq, T] contiguous, or absent. f32 or f64.
/// Memory  packed K and V: B * Hkv * (S rounded up to 16) * (D + Dv) elements, and per thread a few
///         hundred KiB
/// Source  Dao et al. 2022, arXiv:2205.14135; Ainslie et al. 2023, arXiv:2305.13245
void attention_forward(Context& ctx, ConstView q, ConstView k, ConstView v,
                       const AttentionOptions& options, View out, View lse);

/// The gradients of attention_forward, from its operands, `out` and `lse`. Overwrites d_q, d_k,
/// d_v.
void attention_backward(Context& ctx, ConstView q, ConstView k, ConstView v, ConstView out,
                        ConstView lse, ConstView d_out, const AttentionOptions& options, View d_q,
                        View d_k, View d_v);

/// Keys and values of one layer in a KvCache's layout: keys [B, Hkv, P/16, D, 16],
/// values [B, Hkv, P, Dp], Dp = Dv rounded up to 16.
struct CacheSlice {
  View keys;
  View values;
};

/// Stores k [B, T, Hkv, D] and v [B, T, Hkv, Dv] at positions `at` .. at + T - 1.
void cache_store(Context& ctx, ConstView k, ConstView v, const CacheSlice& cache, Index at);

/// attention_forward against the first `length` positions of a cache. Few rows take the decode
/// kernel (keys split in fixed chunks), many the forward kernel. No allocation once warm.
void attention_cached(Context& ctx, ConstView q, const CacheSlice& cache, Index length,
                      const AttentionOptions& options, View out);

}  // namespace grouphead::ops
