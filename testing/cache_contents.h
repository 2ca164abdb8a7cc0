#pragma once

// What a cache holds, read by loops that share nothing with the kernels.

#include "grouphead/core/tensor.h"
#include "ops/attention.h"

namespace grouphead::testing {

struct CacheContents {
  Tensor k{};  ///< [B, S, Hkv, D] f64
  Tensor v{};  ///< [B, S, Hkv, Dv]
  /// u8: the scale of each number of k, [B, S, Hkv, D] f64; else absent.
  Tensor key_scales{};
  Tensor value_scales{};  ///< [B, S, Hkv, Dv]
};

/// The first S positions of a cache in bf16 or u8; what it does not have is some number.
CacheContents cache_contents(const ops::CacheSlice& cache, Index S, Index D, Index Dv);

/// What the 8-bit decode adds to each logit by rounding it: for q [B, T, Hq, D] in f32
/// [B, Hq, T, S] in f64, of `scale` q k.
Tensor query_rounding(ConstView q, const CacheContents& contents, double scale);

}  // namespace grouphead::testing
