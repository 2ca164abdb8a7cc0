#pragma once

#include "grouphead/core/context.h"

#pragma GCC visibility push(default)
namespace grouphead {

struct KvCacheConfig {
  Index num_layers = 1;
  Index batch = 1;                ///< B
  Index num_key_value_heads = 1;  ///< Hkv
  Index head_dim = 0;             ///< D of keys and values
  Index capacity = 0;             ///< P: positions that fit; rounded up to 16, below f32 to 64
  /// f32, or f64 for the references; of f32 models also bf16, or u8: 8-bit numbers with scales.
  Dtype dtype = Dtype::f32;
};

/// Keys (rotated) and values of all layers of one model, in the layout the kernels read:
/// keys [B, Hkv, P/16, D, 16], values [B, Hkv, P, D rounded up to 16]. One length serves all
/// layers. In fewer bits, tiles of 64 positions: [B, Hkv, P/64, numbers of a tile].
///
/// u8: keys have a scale for each dim and tile (of 64 positions), values one for each position.
/// What is stored does not depend on the calls that tokens came in. truncate() into a tile before
/// the last one loses the exact keys of its first positions, which its later ones are scaled with.
///
/// Memory   L * B * Hkv * P * (D + round_up(D, 16)) elements, taken once; u8: 1 byte each, for a
///          position and head 4 bytes and D / 16 more, and L * B * Hkv * 64 * D f32
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
  /// Room for `capacity` positions or more, rounded up as in the configuration; what is stored
  /// stays. Does nothing where there is room enough. Views of keys and values end. While it copies,
  /// the old memory and the new are both taken. Errors: ConfigError for sizes beyond 2^48.
  void reserve(Context& ctx, Index capacity);
  /// Counts `count` more positions, after every layer has stored them. Errors: ShapeError when
  /// they do not fit.
  void advance(Index count);

  /// Errors: ShapeError for a layer outside [0, L).
  View keys(Index layer);        ///< [B, Hkv, P/16, D, 16]
  View values(Index layer);      ///< [B, Hkv, P, Dp]
  View exact_keys(Index layer);  ///< u8: [B, Hkv, 64, D] f32, of the tile stored last; or absent
  View exact_tile(Index layer);  ///< u8: [1] i64, which tile that is; or absent

 private:
  KvCacheConfig config_;
  Index length_ = 0;
  Tensor keys_;        // [L, B, Hkv, P/16, D, 16]
  Tensor values_;      // [L, B, Hkv, P, Dp]
  Tensor exact_keys_;  // [L, B, Hkv, 64, D]
  Tensor exact_tile_;  // [L, 1]
};

}  // namespace grouphead
#pragma GCC visibility pop
