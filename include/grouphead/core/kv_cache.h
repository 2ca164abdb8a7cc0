#pragma once

#include "grouphead/core/context.h"

#pragma GCC visibility push(default)
namespace grouphead {

namespace detail {
struct KvCacheAccess;
}

struct KvCacheConfig {
  Index num_layers = 1;
  Index batch = 1;                ///< B
  Index num_key_value_heads = 1;  ///< Hkv
  Index head_dim = 0;             ///< D of keys and values
  Index capacity = 0;             ///< P: positions that fit; rounded up to 16, below f32 to 64
  /// f32, or f64 for the references; of f32 models also bf16, or u8: 8 bits with scales.
  Dtype dtype = Dtype::f32;
};

/// Keys (rotated, where the layer rotates) and values of all layers of one model, in the layout the
/// kernels read. One length serves all layers and batch entries: decode() and
/// GroupQueryAttention::apply_cached() store at position length(), and advance() counts what they
/// stored once every layer has run. `examples/decode.cc` is a whole loop.
///
/// bf16 and u8 hold f32 keys and values in fewer bits. u8: keys have a scale for each dim and each
/// 64 positions, values one for each position. What one layer stores depends on its keys and values
/// alone, not on the calls that they came in; but in u8 a query is answered with the scales of that
/// moment, so calls cut elsewhere give results that differ by the rounding to 8 bits, which is also
/// in what later layers then store. truncate() to inside a tile of 64 before the last one loses the
/// exact keys of its first positions, which its later ones are scaled with.
///
/// Memory   of each layer B Hkv P (D + D rounded up to 16) elements, taken once; u8: 1 byte each,
///          for a position and head 4 bytes and D / 16 more, and B Hkv 64 D f32
/// Threads  one caller at a time for calls that store, truncate or advance; attention_cached() may
///          read it from several threads, each with its own Context
class KvCache {
 public:
  /// Errors: ConfigError for sizes below 1 or another dtype.
  KvCache(Context& ctx, const KvCacheConfig& config);
  KvCache(KvCache&&) noexcept = default;
  KvCache& operator=(KvCache&&) noexcept = default;

  const KvCacheConfig& config() const noexcept { return config_; }
  Index length() const noexcept { return length_; }
  Index capacity() const noexcept { return config_.capacity; }
  Index bytes() const noexcept;  ///< of the memory taken
  /// Forgets the positions from `length` on. Errors: ShapeError when there are fewer.
  void truncate(Index length);
  /// Room for `capacity` positions or more, rounded up as in the configuration; what is stored
  /// stays. Does nothing where there is room enough. While it copies, the old memory and the new
  /// are both taken. Errors: ConfigError for sizes beyond 2^48.
  void reserve(Context& ctx, Index capacity);
  /// Counts `count` more positions, after every layer has stored them. Errors: ShapeError when
  /// they do not fit.
  void advance(Index count);

 private:
  friend struct detail::KvCacheAccess;

  KvCacheConfig config_;
  Index length_ = 0;
  Tensor keys_;        // [L, B, Hkv, P/16, D, 16]; in fewer bits [L, B, Hkv, P/64, a tile]
  Tensor values_;      // [L, B, Hkv, P, Dp]; the same
  Tensor exact_keys_;  // [L, B, Hkv, 64, D]
  Tensor exact_tile_;  // [L, 1]
};

}  // namespace grouphead
#pragma GCC visibility pop
