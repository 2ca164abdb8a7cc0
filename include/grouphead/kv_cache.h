#pragma once

#include "grouphead/context.h"

namespace grouphead {

struct KvCacheConfig {
  Index num_layers = 1;
  Index batch = 1;                ///< B
  Index num_key_value_heads = 1;  ///< Hkv
  Index head_dim = 0;             ///< D of keys and values
  Index capacity = 0;             ///< P: positions that fit; rounded up to 16
  Dtype dtype = Dtype::f32;       ///< f32, or f64 for the references
};

/// Keys (rotated) and values of all layers of one model, in the layout the kernels read:
/// keys [B, Hkv, P/16, D, 16], values [B, Hkv, P, D rounded up to 16]. One length serves all
/// layers.
///
/// Memory   L * B * Hkv * P * (D + round_up(D, 16)) elements, taken once
/// Threads  one caller at a time
class KvCache {
 public:
  /// Errors: ConfigError for sizes below 1 or another dtype.
  KvCache(Context& ctx, const KvCacheConfig& config);

  const KvCacheConfig& config() const noexcept { return config_; }
  Index length() const noexcept { return length_; }
  Index capacity() const noexcept { return config_.capacity; }
  /// Forgets the positions from `length` on. Errors: ShapeError when there are fewer.
  void truncate(Index length);
  /// Counts `count` more positions, after every layer has stored them. Errors: ShapeError when
  /// they do not fit.
  void advance(Index count);

  /// Errors: ShapeError for a layer outside [0, L).
  View keys(Index layer);    ///< [B, Hkv, P/16, D, 16]
  View values(Index layer);  ///< [B, Hkv, P, Dp]

 private:
  KvCacheConfig config_;
  Index length_ = 0;
  Tensor keys_;    // [L, B, Hkv, P/16, D, 16]
  Tensor values_;  // [L, B, Hkv, P, Dp]
};

}  // namespace grouphead
