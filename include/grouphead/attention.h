#pragma once

// Attention on your own buffers: strided views of const memory in, memory that you own out.

#include <optional>
#include <span>
#include <vector>

#include "grouphead/core/context.h"
#include "grouphead/core/kv_cache.h"
#include "grouphead/core/random.h"

#pragma GCC visibility push(default)
namespace grouphead {

/// What a query attends to when masks, causality or a window leave it no key.
enum class MaskedRows : int {
  keras,   ///< of layers alone. As Keras: `zeros` where scores are returned, where the layer has a
           ///< dropout rate and for inputs of rank above 3; else `uniform`
  zeros,   ///< nothing: its result is zero, and so are its gradients
  uniform  ///< all keys alike, the hidden ones too: the mean of the values
};

/// How queries meet keys. All fields work together, forwards and backwards.
struct AttentionOptions {
  std::optional<double> scale{};  ///< of the products q k; absent: 1 / sqrt(D)
  bool causal = false;            ///< key j is visible to query t iff j <= t + causal_offset
  /// The position of query 0 among the keys, for `causal` and windows. With S - T the last query
  /// meets the last key.
  Index causal_offset = 0;
  /// ... iff j >= t + causal_offset - window_left. Absent: no limit. Negative: not even its own.
  std::optional<Index> window_left{};
  std::optional<Index> window_right{};  ///< ... iff j <= t + causal_offset + window_right
  /// bool or u8 (not 0 = visible), [B or 1, Hq or 1, T or 1, S or 1], any strides.
  ConstView mask{};
  ConstView key_mask{};    ///< bool or u8 [B, S]: which keys are real
  ConstView query_mask{};  ///< bool or u8 [B, T]: other queries see no key
  /// Added to the scaled products; [B or 1, Hq or 1, T or 1, S or 1], any strides, of q's type; of
  /// bf16 queries also f32. -inf hides the key; a query with nothing else gives zeros.
  ConstView bias{};
  /// Positive: a scaled product x becomes softcap tanh(x / softcap), before what is added to it.
  /// Source: Gemma 2, arXiv:2408.00118, section 2.
  std::optional<double> softcap{};
  /// [Hq] of q's type (of bf16 queries also f32): slope |t + causal_offset - j| is subtracted from
  /// the logit of query t and key j. Source: ALiBi, arXiv:2108.12409, section 3.
  ConstView alibi_slopes{};
  /// [Hq] of q's type (of bf16 queries also f32): one more logit of each head's softmax, without a
  /// value. -inf: none. Not with MaskedRows::uniform. Source: arXiv:2309.17453, equation 2.
  ConstView sinks{};
  /// i32 or i64 [B], 0 to S: entry b has its first lengths[b] keys, and its T queries end with
  /// them: query t stands at position lengths[b] - T + t, so causal_offset must be 0. What a batch
  /// entry gets is bitwise what a call with it alone gets, and the other keys cost nothing.
  ConstView lengths{};
  /// i32 or i64 [N + 1], ascending from 0: packed sequences. B = 1; sequence n has the queries
  /// segments[n] to segments[n + 1] - 1 and the keys key_segments[n] to key_segments[n + 1] - 1
  /// (absent: of the same numbers). Sequences do not see each other, and t, j and causal_offset
  /// count within them; bitwise what one call for each gives. Queries behind the last one get 0.
  ConstView segments{};
  ConstView key_segments{};
  MaskedRows masked_rows = MaskedRows::zeros;
  /// Each probability is dropped with this rate, in [0, 1], the others are divided by 1 - rate.
  /// Element ((b Hq + h) T + t) S + j of `draw` decides, so a backward with the same draw drops the
  /// same ones.
  double dropout_rate = 0;
  RandomDraw draw{};
};

/// ALiBi's slopes for AttentionOptions::alibi_slopes: 2^(-8 (h + 1) / n) for the n heads of a power
/// of two; further heads have every second slope of 2 n heads.
/// Source: Press et al. 2022, arXiv:2108.12409, and the authors' code.
std::vector<double> alibi_slopes(Index num_heads);

/// What attention() writes beside its result; absent: not wanted. Both contiguous; f32, of f64
/// operands f64.
struct SoftmaxOutputs {
  /// [B, Hq, T]: log sum_j exp(logit_j); -inf for a query that attends to nothing.
  View lse{};
  /// [2, B, Hq, T], for attention_backward() and attention_scores(): of each query the greatest
  /// logit, in base 2, and the sum of the weights relative to it. Apart, since one lse would round
  /// away what large logits leave of it.
  View statistics{};
};

/// out = dropout(softmax(mask(scale q k^T + bias))) v. Query head h reads key/value head
/// h / (Hq / Hkv), so Hkv = Hq is multi-head and Hkv = 1 multi-query attention.
///
/// Shapes   q [B, T, Hq, D], k [B, S, Hkv, D], v [B, S, Hkv, Dv], out [B, T, Hq, Dv]: the last axis
///          contiguous, other strides free. All f32, all f64 or all bf16
/// Overlap  `out` must not share memory with what is read
/// bf16     products and sums in f32, rounded once at the end; where the processor multiplies bf16,
///          the probabilities are rounded for their product with v too
/// Memory   copies of k and v in the kernels' layout and a few hundred KiB per thread, from the
///          Context: nothing grows as T x S
/// Threads  the Context's; bitwise identical results for any number of them. One call at a time
///          for each Context
/// NaN      in a key changes nothing for queries that do not see it, in a query or d_out nothing
///          for keys that it does not see, gradients included; nor does one in a value hidden by
///          causality or a window, but one hidden by a mask reaches the result, as in Keras
/// Errors   ShapeError, ConfigError: `[attention] operand: expected ..., got ...`
/// Source   Dao et al. 2022, arXiv:2205.14135; Ainslie et al. 2023, arXiv:2305.13245
void attention(Context& ctx, ConstView q, ConstView k, ConstView v, const AttentionOptions& options,
               View out, const SoftmaxOutputs& softmax = {});

/// scores = the probabilities before dropout, [B, Hq, T, S] contiguous, in the type of
/// `statistics`, which attention() wrote from the same operands. Errors as attention().
void attention_scores(Context& ctx, ConstView q, ConstView k, const AttentionOptions& options,
                      ConstView statistics, View scores);

/// What attention_backward() reads and overwrites, in the operands' type. Gradients that are absent
/// are not wanted.
struct AttentionGradients {
  ConstView d_out{};     ///< [B, T, Hq, Dv]
  ConstView d_scores{};  ///< [B, Hq, T, S] contiguous, as attention_scores() wrote; absent: zero
  View d_q{}, d_k{}, d_v{};
  /// Contiguous, of options.bias's shape: summed over the axes that the bias has once. A bias of
  /// one element for all keys has gradient zero, unless there are sinks: the softmax does not
  /// change with it.
  View d_bias{};
  View d_sinks{};  ///< [Hq], of options.sinks' type
};

/// The gradients of attention() and attention_scores(), from the operands and options of the
/// forward and from `out` and `statistics` as it wrote them. Of bf16 operands sums are f32, factors
/// as in the forward, and results rounded once. Memory, threads and errors as attention().
void attention_backward(Context& ctx, ConstView q, ConstView k, ConstView v,
                        const AttentionOptions& options, ConstView out, ConstView statistics,
                        const AttentionGradients& gradients);

/// Attention of new positions over a cache: stores k [B, T, Hkv, D] and v [B, T, Hkv, Dv] of each
/// sequence b at positions cache.length(b) .. + T - 1 of one layer, then attends with
/// q [B, T, Hq, D] to all stored positions of b; out [B, T, Hq, Dv]. A prompt takes one call, then
/// each token one. Call cache.advance(T) once every layer has run.
///
/// Counts   sequence b has counts[b] rows, 0 to T; without counts T. The rows behind them are not
///          read, and `out` gets 0 there; then advance(counts). What a sequence gets is bitwise
///          what a call for it alone gives
/// Options  all but lengths and segments, few rows and many. Positions count from the start of the
///          sequence, so causal_offset must be 0: query t is at cache.length(b) + t. Masks and bias
///          have the shapes that attention() wants with S = cache.length() + T keys, of which a
///          shorter sequence has the first ones. A ring wants causal, a window, and no uniform rows
/// Types    f32 with a cache in f32, bf16 or u8; f64 with one in f64
/// Memory   allocates nothing once the Context is warm; more than 16 rows of a head over a ring, a
///          paged cache or one below f32 take copies of the keys and values
/// Errors   ShapeError, ConfigError; a cache without room or free blocks for the rows, or another
///          layer. Then nothing is stored
void decode(Context& ctx, ConstView q, ConstView k, ConstView v, KvCache& cache, Index layer,
            const AttentionOptions& options, View out, std::span<const Index> counts = {});

/// Stores k [B, S, Hkv, D] and v [B, S, Hkv, Dv] as decode() does, and attends with nothing: the
/// keys of a source that attention_cached() then reads at every step. Errors as decode().
void store_cached(Context& ctx, ConstView k, ConstView v, KvCache& cache, Index layer,
                  std::span<const Index> counts = {});

/// Attends to what is stored, and stores nothing: q [B, T, Hq, D] against the cache.length(b)
/// positions of each sequence b in one layer, as a decoder to its encoder's keys. Options as
/// decode(), with S = cache.length(), and causal_offset, the position of query 0; errors as
/// attention().
void attention_cached(Context& ctx, ConstView q, const KvCache& cache, Index layer,
                      const AttentionOptions& options, View out);

}  // namespace grouphead
#pragma GCC visibility pop
