#pragma once

// Attention in units of work: every function below computes one unit from raw pointers and
// strides. Units own what they write and may run in any order on any thread, so the caller decides
// who runs what and the bits do not depend on it.
//
// Packed rows: the G query heads that share key/value head n are G rows per position. Packed row r
// of head n is query position r / G of head n * G + r % G, so R = T * G rows meet the same keys.

#include "kernels/attention/layout.h"
#include "kernels/random/keep_rule.h"

namespace grouphead::kernels {

inline constexpr Index kNoWindow = Index{1} << 61;

inline constexpr Index kForwardRows = 96;    // packed rows of one forward unit
inline constexpr Index kDecodeKeys = 1024;   // keys of one partial result of the decode
inline constexpr Index kGradientKeys = 192;  // keys of one partial sum of d_q
inline constexpr Index kGradientRows = 192;  // packed rows of one step of a backward unit

/// Activations: element (b, t, h, d) is data[b * batch + t * time + h * head + d].
template <class F>
struct Heads {
  F* data = nullptr;
  Index batch = 0;
  Index time = 0;
  Index head = 0;
};

/// Which tile of kPackKeys positions lies where, of one batch entry; without anything in order.
struct TileTable {
  const Index* slots = nullptr;  // tile t lies in the place of tile slots[t]
  Index ring = 0;                // not 0: tile t lies where tile t % ring does
  Index first = 0;               // tiles that lie in front of the problem's tile 0

  Index place(Index tile) const noexcept {
    const Index whole = ring > 0 ? (tile + first) % ring : tile + first;
    return slots == nullptr ? whole : slots[whole];
  }
  /// Where position s lies.
  Index position(Index s) const noexcept {
    return place(s / kPackKeys) * kPackKeys + s % kPackKeys;
  }
  /// body(s, where it lies, count) for positions [begin, end), in pieces that lie side by side.
  template <class Body>
  void for_runs(Index begin, Index end, const Body& body) const noexcept {
    for (Index s = begin; s < end;) {
      const Index place = position(s);
      Index to = (s / kPackKeys + 1) * kPackKeys;
      while (to < end && position(to) == place + to - s) to += kPackKeys;
      to = min(to, end);
      body(s, place, to - s);
      s = to;
    }
  }
};

/// Keys and values as the kernels read them, in memory of `capacity` positions:
/// keys [B, Hkv, capacity / 16, D, 16], values [B, Hkv, capacity, round_up(Dv, 16)].
/// Positions from S on may hold anything. The decode and what stores look up their tiles; a table
/// is for B = 1.
template <class F>
struct PackedHeads {
  F* keys = nullptr;
  F* values = nullptr;
  Index capacity = 0;
  TileTable table{};
};

/// A mask or a bias: element (b, h, t, j); an axis that is broadcast has stride 0.
template <class E>
struct Grid {
  E* data = nullptr;
  Index batch = 0, head = 0, time = 0, key = 0;

  E* row(Index b, Index h, Index t) const noexcept {
    return data + b * batch + h * head + t * time;
  }
};

/// Dropout of probabilities; AttentionProblem::element() tells which element of the draw decides.
template <class F>
struct ProbabilityDropout {
  bool active = false;
  KeepRule rule{};
  F scale = 0;  // of what is kept
};

/// Where a problem lies in the call that it is part of: packed sequences, and entries with lengths
/// of their own, are problems of their own. Statistics, scores and the elements of a dropout draw
/// are those of the whole call.
struct CallPlace {
  Index T = 0, S = 0;     // of the call; 0: the problem is the whole call
  Index first_place = 0;  // in [B, Hq, T], of (entry, head 0, query) where the problem begins
  Index first_key = 0;
};

/// Sizes and operands; what an operation does not use may be left out.
template <class F>
struct AttentionProblem {
  Index B = 0, T = 0, S = 0, Hq = 0, Hkv = 0, D = 0, Dv = 0;
  CallPlace whole;
  F scale = 0;
  bool causal = false;
  Index causal_offset = 0;         // key j is visible to query t iff j <= t + causal_offset
  Index window_left = kNoWindow;   // and j >= t + causal_offset - window_left
  Index window_right = kNoWindow;  // and j <= t + causal_offset + window_right
  Index num_masks = 0;
  Grid<const std::uint8_t> masks[3];  // and where all of them are not 0
  /// Absent, or not 0 for queries that see nothing and attend to every key alike.
  Grid<const std::uint8_t> fully_masked;
  Grid<const F> bias;
  F softcap = 0;              // positive: products x become softcap tanh(x / softcap)
  const F* slopes = nullptr;  // [Hq]: then slope |t + causal_offset - j| is subtracted (ALiBi)
  const F* sinks = nullptr;   // [Hq]: one more logit of the softmax, without a value
  ProbabilityDropout<F> dropout;
  bool is_part = false;  // of a backward: the softmax is of more keys than these
  Heads<const F> q, k, v;
  PackedHeads<F> packed;
  Heads<F> out;
  /// The softmax of each row, [B, Hq, T]: its greatest logit in base 2, and the sum of the weights
  /// 2^(logit - top); 0 and 0 for a row that sees nothing. Apart, since one lse would round away
  /// what large logits leave of it: the backward wants the forward's very weights.
  F* tops = nullptr;
  F* sums = nullptr;
  F* scores = nullptr;  // [B, Hq, T, S]

  bool has_window() const noexcept { return has_left_window() || window_right != kNoWindow; }
  bool has_left_window() const noexcept { return window_left != kNoWindow; }
  Index group() const noexcept { return Hq / Hkv; }
  Index rows() const noexcept { return T * group(); }
  /// By causality and window alone query t sees the keys [begin_at(t), limit_at(t)), perhaps none;
  /// both ascend in t.
  Index begin_at(Index t) const noexcept {
    return has_left_window() ? max(0, min(S, t + causal_offset - window_left)) : 0;
  }
  Index limit_at(Index t) const noexcept {
    const Index last = causal ? min(0, window_right) : window_right;
    return last != kNoWindow ? max(0, min(S, t + causal_offset + last + 1)) : S;
  }
  /// The same of packed row r.
  Index begin(Index r) const noexcept { return begin_at(r / group()); }
  Index limit(Index r) const noexcept { return limit_at(r / group()); }
  /// First element of packed row r of head n.
  template <class E>
  E* row(const Heads<E>& x, Index b, Index n, Index r) const noexcept {
    return x.data + b * x.batch + r / group() * x.time + (n * group() + r % group()) * x.head;
  }
  F* packed_keys(Index bn) const noexcept { return packed.keys + bn * packed.capacity * D; }
  F* packed_values(Index bn) const noexcept {
    return packed.values + bn * packed.capacity * round_up(Dv, kPanelKeys);
  }
  /// Place of query t of head h in the call's [B, Hq, T].
  Index place(Index b, Index h, Index t) const noexcept {
    return whole.first_place + (b * Hq + h) * (whole.T > 0 ? whole.T : T) + t;
  }
  /// Place of key j for it in the call's [B, Hq, T, S].
  Index element(Index place, Index j) const noexcept {
    return place * (whole.S > 0 ? whole.S : S) + whole.first_key + j;
  }
  /// Query head and place of packed row r of head n.
  Index head(Index n, Index r) const noexcept { return n * group() + r % group(); }
  Index statistic(Index b, Index n, Index r) const noexcept {
    return place(b, head(n, r), r / group());
  }
  /// The softmax of packed row r of head bn, if it is asked for.
  void note_softmax(Index bn, Index r, F top, F sum) const noexcept {
    if (tops == nullptr) return;
    const Index place = statistic(bn / Hkv, bn % Hkv, r);
    tops[place] = sum == 0 ? F{0} : top;
    sums[place] = sum;
  }
  /// The same in a mask or bias.
  template <class E>
  E* grid_row(const Grid<E>& x, Index b, Index n, Index r) const noexcept {
    return x.row(b, n * group() + r % group(), r / group());
  }
};

/// What the backward adds to a problem.
template <class F>
struct AttentionGradients {
  Heads<const F> d_out;
  const F* d_scores = nullptr;  // [B, Hq, T, S]
  F* delta = nullptr;           // [B, Hq, T]: sum_d out d_out + sum_j prob d_score
  Heads<F> d_q, d_k, d_v;
  Grid<F> d_bias;
};

/// Units per batch entry that store S keys and values at positions at .. at + S - 1.
template <class F>
Index pack_tiles(const AttentionProblem<F>& p, Index at) noexcept {
  return p.S == 0 ? 0 : (at + p.S - 1) / kPackKeys - at / kPackKeys + 1;
}
template <class F>
Index forward_units(const AttentionProblem<F>& p) noexcept {
  return p.B * p.Hkv * ceil_div(p.rows(), kForwardRows);
}
template <class F>
Index decode_chunks(const AttentionProblem<F>& p) noexcept {
  return ceil_div(p.S, kDecodeKeys);
}
/// Elements of one unit's partial result: for each row Dv sums, the maximum and the weight.
template <class F>
Index decode_partial_size(const AttentionProblem<F>& p) noexcept {
  return p.rows() * (round_up(p.Dv, kPanelKeys) + kPanelKeys);
}
template <class F>
Index gradient_tiles(const AttentionProblem<F>& p) noexcept {
  return ceil_div(p.S, kGradientKeys);
}
template <class F>
Index gradient_blocks(const AttentionProblem<F>& p) noexcept {
  return ceil_div(p.rows(), kGradientRows);
}

struct Range {
  Index begin, end;
};
/// The tiles of keys that causality and window let a gradient block see. At least one, which then
/// writes the block's d_q; both ends ascend with the block. There are tiles.
template <class F>
Range gradient_tiles_of_block(const AttentionProblem<F>& p, Index block) noexcept {
  const Index tiles = gradient_tiles(p);
  const Index first = block * kGradientRows;
  const Index last = min(first + kGradientRows, p.rows()) - 1;
  const Index begin = min(p.begin(first) / kGradientKeys, tiles - 1);
  return {begin, max(begin + 1, ceil_div(p.limit(last), kGradientKeys))};
}
/// The blocks whose gradient_tiles_of_block() have the tile.
template <class F>
Range gradient_blocks_of_tile(const AttentionProblem<F>& p, Index tile) noexcept {
  // The first block from `begin` on for which `holds`, which does so for all behind it.
  const auto first = [&](Index begin, const auto& holds) {
    Index end = gradient_blocks(p);
    while (begin < end) {
      const Index middle = begin + (end - begin) / 2;
      holds(gradient_tiles_of_block(p, middle)) ? end = middle : begin = middle + 1;
    }
    return begin;
  };
  const Index begin = first(0, [&](Range tiles) { return tiles.end > tile; });
  return {begin, first(begin, [&](Range tiles) { return tiles.begin > tile; })};
}

/// The operations of one instruction-set level. `scratch` has the elements that the function
/// named `..._scratch` tells, 64-byte aligned.
template <class F>
struct AttentionKernels {
  /// Unit of B * pack_tiles(): all heads of b in one absolute tile of kPackKeys positions, which
  /// lie side by side in memory. Keys alone where p.v has no data.
  void (*pack)(const AttentionProblem<F>& p, Index at, Index unit) noexcept;

  /// Unit of forward_units(): kForwardRows packed rows against all their keys, from p.packed.
  Index (*forward_scratch)(const AttentionProblem<F>& p) noexcept;
  void (*forward)(const AttentionProblem<F>& p, Index unit, F* scratch) noexcept;

  /// Unit of forward_units(): p.scores of kForwardRows packed rows, from p.tops, p.sums and
  /// p.packed.
  Index (*scores_scratch)(const AttentionProblem<F>& p) noexcept;
  void (*scores)(const AttentionProblem<F>& p, Index unit, F* scratch) noexcept;

  /// Unit of B * Hkv * decode_chunks(): all rows against one chunk of keys, from p.packed.
  Index (*decode_scratch)(const AttentionProblem<F>& p) noexcept;
  void (*decode)(const AttentionProblem<F>& p, Index unit, F* partial, F* scratch) noexcept;
  /// Output of head bn from the partial results of its chunks, ascending.
  void (*decode_merge)(const AttentionProblem<F>& p, Index bn, const F* partials) noexcept;

  /// sum_d out d_out of the packed rows [block * kGradientRows, ...) of head bn.
  void (*gradient_delta)(const AttentionProblem<F>& p, const AttentionGradients<F>& g, Index bn,
                         Index block) noexcept;
  /// Unit of forward_units(): adds what g.d_scores gives to g.delta. Scratch and p as for scores.
  void (*gradient_scores)(const AttentionProblem<F>& p, const AttentionGradients<F>& g, Index unit,
                          F* scratch) noexcept;
  /// One tile of kGradientKeys keys: begin, then for each block of kGradientRows packed rows that
  /// sees any of it gradient_block (which leaves the block's share of d_q in the scratch) and
  /// gradient_add (which adds it to d_q), then end (which writes d_k and d_v). For each block the
  /// tiles must be added in ascending order; the first one overwrites.
  Index (*gradient_scratch)(const AttentionProblem<F>& p) noexcept;
  void (*gradient_begin)(const AttentionProblem<F>& p, Index bn, Index tile, F* scratch) noexcept;
  void (*gradient_block)(const AttentionProblem<F>& p, const AttentionGradients<F>& g, Index bn,
                         Index tile, Index block, F* scratch) noexcept;
  void (*gradient_add)(const AttentionProblem<F>& p, const AttentionGradients<F>& g, Index bn,
                       Index block, bool is_first, const F* scratch) noexcept;
  /// Adds the share of d_bias that gradient_block left in the scratch.
  void (*gradient_add_bias)(const AttentionProblem<F>& p, const AttentionGradients<F>& g, Index bn,
                            Index tile, Index block, const F* scratch) noexcept;
  void (*gradient_end)(const AttentionProblem<F>& p, const AttentionGradients<F>& g, Index bn,
                       Index tile, F* scratch) noexcept;
};

template <class F>
const AttentionKernels<F>& attention_kernels(Level level) noexcept;
template <>
const AttentionKernels<float>& attention_kernels(Level level) noexcept;
/// The reference at every level.
template <>
const AttentionKernels<double>& attention_kernels(Level level) noexcept;

}  // namespace grouphead::kernels
