// Packing and the forward: blocks of packed rows against all their keys, with an online softmax.
// Included once per target.

#if defined(GROUPHEAD_KERNELS_ATTENTION_FORWARD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef GROUPHEAD_KERNELS_ATTENTION_FORWARD_INL_H_
#undef GROUPHEAD_KERNELS_ATTENTION_FORWARD_INL_H_
#else
#define GROUPHEAD_KERNELS_ATTENTION_FORWARD_INL_H_
#endif

#include <hwy/cache_control.h>

#include <cmath>

#include "kernels/attention_tiles-inl.h"

HWY_BEFORE_NAMESPACE();
namespace grouphead::kernels::HWY_NAMESPACE {

// Keys of one softmax step. Its K and V (256 KiB at D = Dv = 64) stay in L2 while the strips of a
// unit pass over them; a strip of logits (25 KiB) stays in L1. By shape alone: steps show in the
// last bits.
constexpr Index kMostTileKeys = 512;
constexpr Index kLogitRow = kMostTileKeys + 16;  // no power of two: rows fall into different sets
static HWY_INLINE Index tile_keys(const AttentionProblem<float>& p) {
  return p.D + p.Dv <= 128 ? kMostTileKeys : kMostTileKeys / 2;
}

static void pack_unit(const AttentionProblem<float>& p, Index at, Index unit) noexcept {
  const Index b = unit / pack_tiles(p, at);
  const Index tile = at / kPackKeys + unit % pack_tiles(p, at);
  const Index end = min(at + p.S, (tile + 1) * kPackKeys);
  const Index width = round_up(p.Dv, kPanelKeys);
  for (Index s = max(at, tile * kPackKeys); s < end;) {
    const Index lane = s % kPanelKeys;
    const Index count = min(kPanelKeys - lane, end - s);
    const float* k = p.k.data + b * p.k.batch + (s - at) * p.k.time;
    for (Index n = 0; n < p.Hkv; ++n) {
      pack_panel(k + n * p.k.head, p.k.time, lane, count, p.D,
                 p.packed_keys(b * p.Hkv + n) + (s - lane) * p.D);
    }
    s += count;
  }
  if (p.v.data == nullptr) return;
  for (Index s = max(at, tile * kPackKeys); s < end; ++s) {
    const float* v = p.v.data + b * p.v.batch + (s - at) * p.v.time;
    for (Index n = 0; n < p.Hkv; ++n) {
      copy_row(v + n * p.v.head, p.Dv, width, 1.0F, p.packed_values(b * p.Hkv + n) + s * width);
    }
  }
}

// Which keys of a tile the rows of a strip see, as counts from the tile's first key.
struct Visible {
  Index limits[kStripRows];  // ascending
  Index all = 0;             // keys [0, all) are seen by every row
  Index any = 0;             // no row sees a key from here on
};

// `limits` of the strip's rows, see row_limits().
static HWY_INLINE Visible visible_keys(const Index* limits, Index first_key, Index tile_keys) {
  Visible seen;
  for (int i = 0; i < kStripRows; ++i) {
    seen.limits[i] = max(0, min(tile_keys, limits[i] - first_key));
  }
  seen.all = seen.limits[0];
  seen.any = seen.limits[kStripRows - 1];
  return seen;
}

// p.limit() of `count` packed rows from `first` on, the last row repeated; one division for all.
static HWY_INLINE void row_limits(const AttentionProblem<float>& p, Index first, Index count,
                                  Index* limits) {
  const Index G = p.group();
  const Index R = p.rows();
  Index g = first % G;
  Index last = p.causal ? first / G + p.causal_offset + 1 : p.S;
  for (Index i = 0; i < count; ++i) {
    limits[i] = max(0, min(p.S, last));
    if (!p.causal || first + i + 1 >= R || ++g < G) continue;
    g = 0;
    ++last;
  }
}

// logits[i][.] = q_i k_j for N vectors of keys from key j on; maxima[i] = lane maxima so far.
// kSome: keys from limits[i] on are masked.
template <int N, bool kSome>
static HWY_NOINLINE void logit_tile(const float* q, Index q_row, const float* panels, Index D,
                                    float* HWY_RESTRICT logits, Index logit_row,
                                    float* HWY_RESTRICT maxima, const Index* limits, Index j) {
  Tile<kStripRows, N> tile;
  tile.clear();
  tile.run(q, q_row, 1, panel_at(panels, j, D), InPanels{D * kPanelKeys}, kPanelKeys, D);
  HWY_UNROLL(16)
  for (int i = 0; i < kStripRows; ++i) {
    Vector top = hn::LoadU(kFloats, maxima + i * kLanes);
    HWY_UNROLL(16)
    for (int n = 0; n < N; ++n) {
      Vector x = tile.sums[i][n];
      if constexpr (kSome) {
        const Index seen = max(0, min(kLanes, limits[i] - j - n * kLanes));
        x = hn::IfThenElse(hn::FirstN(kFloats, static_cast<std::size_t>(seen)), x,
                           hn::Set(kFloats, kMasked));
      }
      top = hn::Max(top, x);
      hn::StoreU(x, kFloats, logits + i * logit_row + j + n * kLanes);
    }
    hn::StoreU(top, kFloats, maxima + i * kLanes);
  }
}

// All visible logits of a strip, to whole vectors.
static HWY_INLINE void logit_strip(const float* q, Index q_row, const float* panels, Index D,
                                   const Visible& seen, float* logits, Index logit_row,
                                   float* maxima) {
  constexpr Index kStep = kTileVectors * kLanes;
  Index j = 0;
  for (; j + kStep <= seen.all; j += kStep) {
    logit_tile<kTileVectors, false>(q, q_row, panels, D, logits, logit_row, maxima, seen.limits, j);
  }
  for (; j + kLanes < seen.any; j += kStep) {
    logit_tile<kTileVectors, true>(q, q_row, panels, D, logits, logit_row, maxima, seen.limits, j);
  }
  if (j < seen.any) {
    logit_tile<1, true>(q, q_row, panels, D, logits, logit_row, maxima, seen.limits, j);
  }
}

// x = 2^(x - top) in place; weights[16 lanes] = keep * weights + sums of x.
static HWY_INLINE void softmax_row(float* HWY_RESTRICT x, Index vectors, float top, float keep,
                                   float* HWY_RESTRICT weights) {
  Vector sums[4] = {hn::Mul(hn::Set(kFloats, keep), hn::LoadU(kFloats, weights)), hn::Zero(kFloats),
                    hn::Zero(kFloats), hn::Zero(kFloats)};
  const Vector shift = hn::Set(kFloats, top);
  Index c = 0;
  for (; c + 4 <= vectors; c += 4) {
    HWY_UNROLL(4)
    for (int u = 0; u < 4; ++u) {
      float* at = x + (c + u) * kLanes;
      const Vector weight = exp2_neg(hn::Sub(hn::LoadU(kFloats, at), shift));
      hn::StoreU(weight, kFloats, at);
      sums[u] = hn::Add(sums[u], weight);
    }
  }
  // Vector c always adds to sums[c % 4]: what its neighbours see does not change a row's bits.
  HWY_UNROLL(4)
  for (int u = 0; u < 3; ++u) {
    if (c + u >= vectors) break;
    float* at = x + (c + u) * kLanes;
    const Vector weight = exp2_neg(hn::Sub(hn::LoadU(kFloats, at), shift));
    hn::StoreU(weight, kFloats, at);
    sums[u] = hn::Add(sums[u], weight);
  }
  hn::StoreU(hn::Add(hn::Add(sums[0], sums[1]), hn::Add(sums[2], sums[3])), kFloats, weights);
}

// Memory of a forward unit, for the rows of its strips.
struct ForwardScratch {
  static constexpr Index kRows = kForwardRows;
  ForwardScratch(const AttentionProblem<float>& p, float* scratch)
      : width(round_up(p.Dv, kPanelKeys)),
        q_row(round_up(p.D, kPanelKeys)),
        q(scratch),
        out(q + kRows * q_row),
        weights(out + kRows * width),
        tops(weights + kRows * kPanelKeys),
        maxima(tops + kRows),
        logits(maxima + kStripRows * kPanelKeys) {}
  static Index size(const AttentionProblem<float>& p) {
    return kRows * (round_up(p.D, kPanelKeys) + round_up(p.Dv, kPanelKeys) + kPanelKeys + 1) +
           kStripRows * (kPanelKeys + kLogitRow);
  }
  Index width, q_row;
  float* q;        // [kRows][q_row], times scale and log2 e
  float* out;      // [kRows][width]: sums of weight * v
  float* weights;  // [kRows][lanes]: sums of weights
  float* tops;     // [kRows]: the maximum that the weights are relative to
  float* maxima;   // [kStripRows][lanes]
  float* logits;   // [kStripRows][kLogitRow]
};

// One strip of rows against one tile of keys.
static HWY_INLINE void attend_strip(const ForwardScratch& w, const AttentionProblem<float>& p,
                                    const Visible& seen, Index strip, const float* panels,
                                    const float* values) {
  const Index row = strip * kStripRows;
  fill(w.maxima, kStripRows * kLanes, kMasked);
  logit_strip(w.q + row * w.q_row, w.q_row, panels, p.D, seen, w.logits, kLogitRow, w.maxima);
  HWY_ALIGN float keep[16] = {};
  for (int i = 0; i < kStripRows; ++i) {
    float& top = w.tops[row + i];
    const float here =
        hn::GetLane(hn::MaxOfLanes(kFloats, hn::LoadU(kFloats, w.maxima + i * kLanes)));
    const float now = here > top ? here : top;
    keep[i] = top - now;
    top = now;
  }
  for (Index i = 0; i < 16; i += kLanes) {
    hn::StoreU(exp2_neg(hn::LoadU(kFloats, keep + i)), kFloats, keep + i);
  }
  const Index vectors = ceil_div(seen.any, kLanes);
  for (int i = 0; i < kStripRows; ++i) {
    const float top = w.tops[row + i];
    // A row that has seen nothing yet keeps weights of zero.
    softmax_row(w.logits + i * kLogitRow, vectors, top == kMasked ? 0.0F : top, keep[i],
                w.weights + (row + i) * kLanes);
  }
  float* out = w.out + row * w.width;
  strip_product(w.width, w.logits, kLogitRow, 1, values, w.width, seen.all, keep, out, w.width);
  ragged_product(w.width, w.logits, kLogitRow, values, w.width, seen.all, seen.limits, kStripRows,
                 out, w.width);
}

// Asks for a strip of rows early: pieces of memory too short and too far apart for the hardware
// prefetcher.
template <class E>
static HWY_INLINE void prefetch_rows(const AttentionProblem<float>& p, const Heads<E>& x, Index bn,
                                     Index first, Index width) {
  if (first >= p.rows()) return;
  RowCursor<E> row(p, x, bn, first);
  for (Index r = first; r < min(first + kStripRows, p.rows()); ++r, row.next()) {
    for (Index d = 0; d < width; d += 16) hwy::Prefetch(row.get() + d);
  }
}

// The queries of one strip; soon those of the next, and a while later the outputs, follow.
static HWY_INLINE void load_queries(const ForwardScratch& w, const AttentionProblem<float>& p,
                                    Index bn, Index first, Index strip) {
  const Index begin = strip * kStripRows;
  RowCursor<const float> row(p, p.q, bn, first + begin);
  for (Index i = begin; i < begin + kStripRows; ++i) {
    copy_row(row.get(), p.D, p.D, p.scale * kLog2E, w.q + i * w.q_row);
    if (first + i + 1 < p.rows()) row.next();
  }
  prefetch_rows(p, p.q, bn, first + begin + kStripRows, p.D);
  prefetch_rows(p, p.out, bn, first + begin, p.Dv);
}

// Divides a row by its weights; its lse.
static HWY_INLINE float finish_row(const AttentionProblem<float>& p, const float* sums, float sum,
                                   float top, float* out) {
  copy_row(sums, p.Dv, p.Dv, sum == 0.0F ? 0.0F : 1.0F / sum, out);
  return sum == 0.0F ? HUGE_VALF : (top + log2f(sum)) * kLn2;
}

static Index forward_scratch(const AttentionProblem<float>& p) noexcept {
  return ForwardScratch::size(p);
}

// Heads one after the other, so that one head's packed keys and values stay in L2; of each head the
// last rows, which see most keys under a causal mask, come first.
static void forward_unit(const AttentionProblem<float>& p, Index unit, float* scratch) noexcept {
  const Index R = p.rows();
  const Index blocks = ceil_div(R, kForwardRows);
  const Index bn = unit / blocks;
  const Index first = (blocks - 1 - unit % blocks) * kForwardRows;
  const Index rows = min(kForwardRows, R - first);
  const Index strips = ceil_div(rows, kStripRows);
  const ForwardScratch w(p, scratch);
  Index limits[kForwardRows];
  row_limits(p, first, strips * kStripRows, limits);
  for (Index r = 0; r < strips * kStripRows; ++r) w.tops[r] = kMasked;
  fill(w.out, strips * kStripRows * w.width, 0.0F);
  fill(w.weights, strips * kStripRows * kLanes, 0.0F);

  const Index keys = tile_keys(p);
  for (Index s = 0; s < limits[rows - 1]; s += keys) {
    for (Index strip = 0; strip < strips; ++strip) {
      const Visible seen = visible_keys(limits + strip * kStripRows, s, keys);
      if (seen.any == 0) continue;
      if (s == 0) load_queries(w, p, bn, first, strip);
      attend_strip(w, p, seen, strip, p.packed_keys(bn) + s * p.D,
                   p.packed_values(bn) + s * w.width);
    }
  }
  RowCursor<float> out(p, p.out, bn, first);
  float unused = 0.0F;
  RowCursor<float> lse(p, p.lse == nullptr ? Heads<float>{&unused, 0, 0, 0} : statistics(p, p.lse),
                       bn, first);
  for (Index r = 0; r < rows; ++r, out.next(), lse.next()) {
    const float sum =
        hn::GetLane(hn::SumOfLanes(kFloats, hn::LoadU(kFloats, w.weights + r * kLanes)));
    *lse.get() = finish_row(p, w.out + r * w.width, sum, w.tops[r], out.get());
  }
}

}  // namespace grouphead::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
