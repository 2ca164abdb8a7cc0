#pragma once

#include "grouphead/core/context.h"
#include "grouphead/core/random.h"

namespace grouphead::ops {

/// What a query that sees no key attends to.
enum class MaskedRows : std::uint8_t {
  zeros,   ///< nothing: zeros, also as gradients
  uniform  ///< every key alike: the mean of the values; q and k get no gradient from it
};

struct AttentionOptions {
  double scale = 0;  ///< on q k; 0: 1 / sqrt(D)
  bool causal = false;
  Index causal_offset = 0;  ///< key j is visible to query t iff j <= t + causal_offset
  /// Key j is visible to query t iff |t + causal_offset - j| < window; 0: everywhere.
  Index window = 0;
  /// bool or u8 (nonzero = visible), [B or 1, Hq or 1, T or 1, S or 1], any strides; absent: all.
  ConstView mask{};
  ConstView key_mask{};    ///< bool [B, S]: which keys are real; absent: all
  ConstView query_mask{};  ///< bool [B, T]: other queries see nothing; absent: all
  /// Added to the scaled products: q's type, [B or 1, Hq or 1, T or 1, S or 1], any strides. -inf,
  /// and all down from -2^125, hides the key; a query with nothing else gives zeros.
  ConstView bias{};
  MaskedRows masked_rows = MaskedRows::zeros;
  /// Each probability is dropped with this rate, the others divided by 1 - rate; element
  /// ((b Hq + h) T + t) S + j of the draw decides. Needs `draw`. In [0, 1].
  double dropout_rate = 0;
  RandomDraw draw{};
  /// Of f32 operands: their numbers are bf16's, and so may the probabilities be rounded and the
  /// result, where bf16_is_native().
  bool on_bf16_grid = false;
};

/// out = dropout(softmax(mask(scale q k^T + bias))) v. Query head h reads key/value head h / G.
///
/// Shapes  q [B, T, Hq, D], k [B, S, Hkv, D], v [B, S, Hkv, Dv], out [B, T, Hq, Dv]: last axis
///         contiguous, other strides free; softmax [2, B, Hq, T] contiguous, or absent: of each
///         query the greatest logit (in base 2) and the sum of the weights relative to it, for the
///         backward; zeros where it attends to nothing. f32 or f64; or bf16, with softmax in f32.
/// bf16    numbers are products and sums in f32, rounded once at the end. Where bf16_is_native(),
///         probabilities are rounded for their product with v too, as Keras rounds them; elsewhere
///         f32 copies run through the f32 kernels
/// Memory  packed K and V: B * Hkv * (S rounded up to 16) * (D + Dv) elements (bf16: S to 64, D to
///         32), and per thread a few hundred KiB; of a bias in bf16 an f32 copy. With uniform
///         masked rows also a note of one byte for each query that masks tell apart, at most B Hq
///         T: nothing else grows as T x S
/// NaN     in a key that a query does not see changes nothing for it, gradients included; so does
///         one in a value hidden by causality or window, while one hidden by a mask alone reaches
///         the output as in Keras (0 NaN)
/// Source  Dao et al. 2022, arXiv:2205.14135; Ainslie et al. 2023, arXiv:2305.13245
void attention_forward(Context& ctx, ConstView q, ConstView k, ConstView v,
                       const AttentionOptions& options, View out, View softmax);

/// Whether attention_forward has kernels for bf16 with these options: level avx3_amx, or avx3_bf16
/// with nothing but causality; and a positive scale.
bool bf16_is_native(Context& ctx, const AttentionOptions& options) noexcept;

/// lse [B, Hq, T] = log sum_j exp(logit_j) from the softmax that attention_forward left; +inf for a
/// query that attends to nothing.
void attention_lse(ConstView softmax, View lse);

/// scores = the probabilities before dropout, [B, Hq, T, S] contiguous, by slabs from the
/// softmax of attention_forward. The only T x S array, and the caller's.
void attention_scores(Context& ctx, ConstView q, ConstView k, ConstView softmax,
                      const AttentionOptions& options, View scores);

/// What attention_backward is given and what it overwrites. A bias of one number for all keys has
/// zero gradient: the softmax does not change with it.
struct BackwardOperands {
  ConstView d_out{};
  ConstView d_scores{};  ///< [B, Hq, T, S] contiguous: of attention_scores; absent: none
  View d_q{}, d_k{}, d_v{};
  View d_bias{};  ///< of options.bias, contiguous; summed where the bias is broadcast; absent: none
};

/// The gradients of attention_forward (and attention_scores), from its operands, `out` and
/// `softmax`.
void attention_backward(Context& ctx, ConstView q, ConstView k, ConstView v, ConstView out,
                        ConstView softmax, const AttentionOptions& options,
                        const BackwardOperands& operands);

/// Keys and values of one layer in a KvCache's layout: keys [B, Hkv, P/16, D, 16],
/// values [B, Hkv, P, Dp], Dp = Dv rounded up to 16. In 16 or 8 bits, tiles of 64 positions:
/// [B, Hkv, P/64, cache_tile_bytes() / size of a number], bf16 or u8; for q, k, v, out in f32.
struct CacheSlice {
  View keys;
  View values;
  /// u8 alone: [B, Hkv, 64, D] f32, the exact keys of the tile stored last, and which one that is,
  /// [1] i64. A tile's numbers are made anew from these as it grows.
  View exact{};
  View exact_tile{};
};

/// Bytes of one tile of keys and one of values, of a cache in bf16 or u8.
struct CacheTileBytes {
  Index keys = 0;
  Index values = 0;
};
CacheTileBytes cache_tile_bytes(Dtype dtype, Index D, Index Dv) noexcept;

/// Stores k [B, T, Hkv, D] and v [B, T, Hkv, Dv] at positions `at` .. at + T - 1. What a cache
/// holds does not depend on the calls that its tokens came in, but where `at` goes back into a tile
/// of 8-bit numbers before the last one: its exact keys are gone, and their numbers stand for them.
void cache_store(Context& ctx, ConstView k, ConstView v, const CacheSlice& cache, Index at);

/// The most rows of a key/value head, T * Hq / Hkv, that attention_cached() takes by the decode
/// kernel, which rounds queries for a cache in 8 bits.
inline constexpr Index kMostDecodeRows = 16;

/// attention_forward against the first `length` positions of a cache. Few rows take the decode
/// kernel (keys split in fixed chunks), many the forward kernel, for which a cache in 16 or 8 bits
/// is widened to f32 first: B Hkv P (D + Dp) elements. No allocation once warm.
/// Errors: ConfigError for options other than scale, causal and causal_offset.
void attention_cached(Context& ctx, ConstView q, const CacheSlice& cache, Index length,
                      const AttentionOptions& options, View out);

}  // namespace grouphead::ops
