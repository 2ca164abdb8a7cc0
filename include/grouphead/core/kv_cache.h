#pragma once

#include <memory>
#include <span>
#include <vector>

#include "grouphead/core/context.h"

#pragma GCC visibility push(default)
namespace grouphead {

namespace ops {
class BlockTable;
struct KvCacheAccess;
}  // namespace ops

struct KvCacheConfig {
  Index num_layers = 1;
  Index batch = 1;                ///< B: sequences
  Index num_key_value_heads = 1;  ///< Hkv
  Index head_dim = 0;             ///< D of keys and, without value_dim, of values
  /// P: positions that fit in a sequence; rounded up to 16, to 64 below f32 and where paged, where
  /// it is at most, and without a number, all blocks. A ring needs none.
  Index capacity = 0;
  /// f32, or f64 for the references; of f32 models also bf16, or u8: 8 bits with scales.
  Dtype dtype = Dtype::f32;
  Index value_dim = 0;  ///< Dv; 0: head_dim
  /// W: a ring, which keeps what a sliding window of W positions may see, its own one counted, and
  /// has room without end. Every call then has a window: of options.window_left < W, or a layer's
  /// sliding_window <= W. 0: everything is kept.
  Index window = 0;
  /// Paged: blocks of 64 positions, which all sequences of the cache take from and give back to.
  /// fork() shares them. 0: each sequence has memory of its own for `capacity` positions.
  Index num_blocks = 0;
};

/// Rows of one sequence of a cache, in a call that has those of several one after the other.
struct SequenceRows {
  Index sequence = 0;
  Index count = 1;
};

/// Keys (rotated, where the layer rotates) and values of all layers of one model, in the layout the
/// kernels read. Each sequence of the batch has a length of its own; where calls have as many rows
/// for each, one length serves all. decode() and GroupQueryAttention::apply_cached() store at
/// position length(), and advance() counts what they stored once every layer has run.
/// `examples/decode.cc` is a whole loop.
///
/// What a sequence gets is bitwise what it gets in a cache of its own, contiguous, ring or paged.
///
/// bf16 and u8 hold f32 keys and values in fewer bits. u8: keys have a scale for each dim and each
/// 64 positions, values one for each position. What one layer stores depends on its keys and values
/// alone, not on the calls that they came in; but in u8 a query is answered with the scales of that
/// moment, so calls cut elsewhere give results that differ by the rounding to 8 bits, which is also
/// in what later layers then store. truncate() to inside a tile of 64 before the last one loses the
/// exact keys of its first positions, which its later ones are scaled with.
///
/// Memory   of each layer B Hkv P (D + Dv rounded up to 16) elements, taken once; a ring has
///          W + 64 rounded up to 64 for P, paged ones 64 num_blocks for B P. u8: 1 byte each,
///          for a position and head 4 bytes and D / 16 more, and B Hkv 64 D f32
/// Threads  one caller at a time for calls that store, truncate or advance; attention_cached() may
///          read it from several threads, each with its own Context
class KvCache {
 public:
  /// Errors: ConfigError for sizes below 1, another dtype, or a ring that is paged.
  KvCache(Context& ctx, const KvCacheConfig& config);
  ~KvCache();
  KvCache(KvCache&&) noexcept;
  KvCache& operator=(KvCache&&) noexcept;

  const KvCacheConfig& config() const noexcept { return config_; }
  /// Of the longest sequence.
  Index length() const noexcept;
  /// Errors, here and below: ShapeError for a sequence that is not there.
  Index length(Index sequence) const;
  std::span<const Index> lengths() const noexcept { return lengths_; }
  /// Positions that a sequence has room for.
  Index capacity() const noexcept { return config_.capacity; }
  Index bytes() const noexcept;  ///< of the memory taken
  /// Paged: blocks that no sequence has.
  Index num_free_blocks() const noexcept;

  /// Forgets the positions from `length` on, of all sequences or of one; paged: gives their blocks
  /// back. Errors: ShapeError when there are fewer, or where a ring no longer has what the window
  /// of the next position sees.
  void truncate(Index length);
  void truncate(Index sequence, Index length);
  /// Room for `capacity` positions or more in each sequence, rounded up as in the configuration;
  /// what is stored stays. Does nothing where there is room enough. While it copies, the old memory
  /// and the new are both taken. Errors: ConfigError for sizes beyond 2^48, and of a paged cache.
  void reserve(Context& ctx, Index capacity);
  /// Counts `count` more positions of all sequences, or counts[b] of each sequence b, after every
  /// layer has stored them. Errors: ShapeError when they do not fit.
  void advance(Index count);
  void advance(std::span<const Index> counts);
  /// The same of some sequences.
  void advance(std::span<const SequenceRows> rows);

  /// Makes sequence `to` a copy of sequence `from`, which may be of another cache: what `to` was is
  /// forgotten. Within a paged cache the blocks are shared, until one of both stores in one: that
  /// costs no memory and, of P positions, P / 64 steps. Errors: ShapeError for a cache of other
  /// layers, heads, dims or dtype, without room or free blocks for it, or for a ring that no longer
  /// has what is to be copied: then nothing changes.
  void fork(Index from, Index to);
  void fork(const KvCache& source, Index from, Index to);

 private:
  friend struct ops::KvCacheAccess;
  void check_truncation(Index sequence, Index length) const;
  void check_advance(Index sequence, Index count) const;
  Index room(Index sequence) const noexcept;

  KvCacheConfig config_;
  std::vector<Index> lengths_;
  std::vector<Index> kept_;  // of each sequence the first position that a ring still has
  std::unique_ptr<ops::BlockTable> blocks_;  // null where not paged
  Tensor keys_;        // [L, B, Hkv, P/16, D, 16]; in fewer bits [L, B, Hkv, P/64, a tile]
  Tensor values_;      // [L, B, Hkv, P, Dp]; the same. Paged: 1 for B, all blocks for P
  Tensor exact_keys_;  // [L, B, Hkv, 64, D]
  Tensor exact_tile_;  // [L, B]
};

}  // namespace grouphead
#pragma GCC visibility pop
