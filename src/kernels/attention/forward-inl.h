// Packing and the forward: blocks of packed rows against all their keys, with an online softmax.
// Included once per target.

#if defined(GROUPHEAD_KERNELS_ATTENTION_FORWARD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef GROUPHEAD_KERNELS_ATTENTION_FORWARD_INL_H_
#undef GROUPHEAD_KERNELS_ATTENTION_FORWARD_INL_H_
#else
#define GROUPHEAD_KERNELS_ATTENTION_FORWARD_INL_H_
#endif

#include <hwy/cache_control.h>

#include "kernels/attention/visibility-inl.h"

HWY_BEFORE_NAMESPACE();
namespace grouphead::kernels::HWY_NAMESPACE {

// Keys of one softmax step. Its K and V (256 KiB at D = Dv = 64) stay in L2 while the strips of a
// unit pass over them; a strip of logits (50 KiB) nearly stays in L1. By shape alone: steps show in
// the last bits.
constexpr Index kLogitRow = kMostTileKeys + 16;  // no power of two: rows fall into different sets
static HWY_INLINE Index tile_keys(const AttentionProblem<float>& p) {
  return p.D + p.Dv <= 128 ? kMostTileKeys : kMostTileKeys / 2;
}

static void pack_unit(const AttentionProblem<float>& p, Index at, Index unit) noexcept {
  const Index b = unit / pack_tiles(p, at);
  const Index tile = at / kPackKeys + unit % pack_tiles(p, at);
  const Index end = min(at + p.S, (tile + 1) * kPackKeys);
  const Index width = round_up(p.Dv, kPanelKeys);
  const Index shift = (p.packed.table.place(tile) - tile) * kPackKeys;
  for (Index s = max(at, tile * kPackKeys); s < end;) {
    const Index lane = s % kPanelKeys;
    const Index count = min(kPanelKeys - lane, end - s);
    const float* k = p.k.data + b * p.k.batch + (s - at) * p.k.time;
    for (Index n = 0; n < p.Hkv; ++n) {
      pack_panel(k + n * p.k.head, p.k.time, lane, count, p.D,
                 p.packed_keys(b * p.Hkv + n) + (s + shift - lane) * p.D);
    }
    s += count;
  }
  if (p.v.data == nullptr) return;
  for (Index s = max(at, tile * kPackKeys); s < end; ++s) {
    const float* v = p.v.data + b * p.v.batch + (s - at) * p.v.time;
    for (Index n = 0; n < p.Hkv; ++n) {
      copy_row(v + n * p.v.head, p.Dv, width, 1.0F,
               p.packed_values(b * p.Hkv + n) + (s + shift) * width);
    }
  }
}

// Which keys of a tile the rows of a strip see, as counts from the tile's first key.
struct Visible {
  Index rows;                // that exist
  Index limits[kStripRows];  // ascending
  bool any() const { return limits[kStripRows - 1] > 0; }
};

// `limits` of the strip's rows, see row_limits().
static HWY_INLINE Visible visible_keys(const Index* limits, Index rows, Index first_key,
                                       Index tile_keys) {
  Visible seen;
  seen.rows = min(rows, kStripRows);
  for (int i = 0; i < kStripRows; ++i) {
    seen.limits[i] = max(0, min(tile_keys, limits[i] - first_key));
  }
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

// All visible logits of a strip, to whole vectors of each row; beside() runs before each tile.
template <class Beside>
static HWY_INLINE void logit_strip(const float* q, Index q_row, const float* panels, Index D,
                                   const Visible& seen, float* logits, Index logit_row,
                                   float* maxima, const Beside& beside) {
  constexpr Index kStep = kLogitVectors * kLanes;
  const Index end = seen.limits[kStripRows - 1];
  for (Index j = 0; j < end; j += kStep) {
    for (Index i = 0; i < seen.rows; i += kLogitRows) {
      const Index* limits = seen.limits + i;
      beside();
      if (j + kStep <= limits[0]) {
        logit_tile<kLogitVectors, false>(q + i * q_row, q_row, panels, D, logits + i * logit_row,
                                         logit_row, maxima + i * kLanes, limits, j);
      } else {
        logit_part<true>(q + i * q_row, q_row, panels, D, logits + i * logit_row, logit_row,
                         maxima + i * kLanes, limits, j, limits[kLogitRows - 1]);
      }
    }
  }
}

// c[i][.] = alpha[i] c[i][.] + sum_k a[i][k] b[k][.] over the keys that row i of a strip sees;
// without alpha they are added. Keys that not all of a group see go row by row.
static HWY_INLINE void seen_product(Index width, const float* a, Index a_row, const float* b,
                                    Index b_row, const Visible& seen, const float* alpha, float* c,
                                    Index c_row) {
  const Index group = group_rows(width);
  for (Index i = 0; i < seen.rows; i += group) {
    const Index* limits = seen.limits + i;
    group_product(width, a + i * a_row, a_row, 1, b, b_row, limits[0],
                  alpha == nullptr ? kKeep : alpha + i, c + i * c_row, c_row);
    if (limits[0] == limits[group - 1]) continue;
    ragged_product(width, a + i * a_row, a_row, b, b_row, limits[0], limits, group, c + i * c_row,
                   c_row);
  }
}

// The sums of a row's weights: vector c of a tile always adds to sum c % 4, so what its neighbours
// see does not change a row's bits.
struct WeightSums {
  Vector sums[4];

  HWY_INLINE WeightSums(const float* weights, float keep)
      : sums{hn::Mul(hn::Set(kFloats, keep), hn::LoadU(kFloats, weights)), hn::Zero(kFloats),
             hn::Zero(kFloats), hn::Zero(kFloats)} {}
  // x = 2^(x - top) in place for the vectors [begin, end); begin % 4 = 0.
  HWY_INLINE void add(float* HWY_RESTRICT x, Index begin, Index end, float top) {
    const Vector shift = hn::Set(kFloats, top);
    Index c = begin;
    for (; c + 4 <= end; c += 4) {
      HWY_UNROLL(4)
      for (int u = 0; u < 4; ++u) {
        float* at = x + (c + u) * kLanes;
        const Vector weight = exp2_neg(hn::Sub(hn::LoadU(kFloats, at), shift));
        hn::StoreU(weight, kFloats, at);
        sums[u] = hn::Add(sums[u], weight);
      }
    }
    HWY_UNROLL(4)
    for (int u = 0; u < 3; ++u) {
      if (c + u >= end) break;
      float* at = x + (c + u) * kLanes;
      const Vector weight = exp2_neg(hn::Sub(hn::LoadU(kFloats, at), shift));
      hn::StoreU(weight, kFloats, at);
      sums[u] = hn::Add(sums[u], weight);
    }
  }
  HWY_INLINE void store(float* weights) const {
    hn::StoreU(hn::Add(hn::Add(sums[0], sums[1]), hn::Add(sums[2], sums[3])), kFloats, weights);
  }
};

// x = 2^(x - top) in place; weights[lanes] = keep * weights + sums of x.
static HWY_INLINE void softmax_row(float* HWY_RESTRICT x, Index vectors, float top, float keep,
                                   float* HWY_RESTRICT weights) {
  WeightSums sums(weights, keep);
  sums.add(x, 0, vectors, top);
  sums.store(weights);
}

// Memory of a forward unit, for the rows of its strips.
struct ForwardScratch {
  static constexpr Index kRows = kForwardRows;
  ForwardScratch(const AttentionProblem<float>& p, float* memory)
      : ForwardScratch(p, ScratchCarver<float>(memory)) {}
  static Index size(const AttentionProblem<float>& p) { return ForwardScratch(p, nullptr).used; }

  Index width, q_row;
  float* q;        // [kRows][q_row], times scale and log2 e
  float* out;      // [kRows][width]: sums of weight * v
  float* weights;  // [kRows][lanes]: sums of weights
  float* tops;     // [kRows]: the maximum that the weights are relative to
  float* maxima;   // [kStripRows][lanes]
  float* logits;   // [kStripRows][kLogitRow]
  StripMemory<> strip;
  Index used;

 private:
  ForwardScratch(const AttentionProblem<float>& p, ScratchCarver<float> memory)
      : width(round_up(p.Dv, kPanelKeys)),
        q_row(round_up(p.D, kPanelKeys)),
        q(memory.take(kRows * q_row)),
        out(memory.take(kRows * width)),
        weights(memory.take(kRows * kPanelKeys)),
        tops(memory.take(kRows)),
        maxima(memory.take(kStripRows * kPanelKeys)),
        logits(memory.take(kStripRows * kLogitRow)),
        strip(memory),
        used(memory.used()) {}
};

// Prefetches packed rows from `first` on, one at a time: pieces of memory too short and too far
// apart for the hardware prefetcher, and too many to ask at once.
template <class E>
class RowPrefetcher {
 public:
  HWY_INLINE RowPrefetcher(const AttentionProblem<float>& p, const Heads<E>& x, Index bn,
                           Index first, Index width)
      : rows_(p, x, bn, min(first, p.rows() - 1)),
        width_(width),
        left_(x.data == nullptr ? 0 : p.rows() - first) {}
  HWY_INLINE void prefetch_one() {
    if (left_-- <= 0) return;
    for (Index d = 0; d < width_; d += 16) hwy::Prefetch(rows_.get() + d);
    if (left_ > 0) rows_.next();
  }

 private:
  RowCursor<E> rows_;
  Index width_, left_;
};

// What comes after the strip of rows from `first` on: the next one's queries, and its outputs.
struct StripPrefetcher {
  HWY_INLINE StripPrefetcher(const AttentionProblem<float>& p, Index bn, Index first)
      : queries(p, p.q, bn, first + kStripRows, p.D), outputs(p, p.out, bn, first, p.Dv) {}
  HWY_INLINE void prefetch_one() {
    queries.prefetch_one();
    outputs.prefetch_one();
  }

  RowPrefetcher<const float> queries;
  RowPrefetcher<float> outputs;
};

// One strip of rows against one tile of keys.
static HWY_INLINE void attend_strip(const ForwardScratch& w, const AttentionProblem<float>& p,
                                    const Visible& seen, Index strip, const float* panels,
                                    const float* values, StripPrefetcher* ahead) {
  const Index row = strip * kStripRows;
  fill(w.maxima, kStripRows * kLanes, kMasked);
  logit_strip(w.q + row * w.q_row, w.q_row, panels, p.D, seen, w.logits, kLogitRow, w.maxima,
              [] {});
  HWY_ALIGN float keep[round_up(kStripRows, 16)];
  float here[kStripRows];
  for (int i = 0; i < kStripRows; ++i) {
    here[i] = hn::GetLane(hn::MaxOfLanes(kFloats, hn::LoadU(kFloats, w.maxima + i * kLanes)));
  }
  raise_tops<kStripRows>(here, w.tops + row, keep);
  for (Index i = 0; i < seen.rows; ++i) {
    if (ahead != nullptr) ahead->prefetch_one();
    const float top = w.tops[row + i];
    // A row that has seen nothing yet keeps weights of zero.
    softmax_row(w.logits + i * kLogitRow, ceil_div(seen.limits[i], kLanes),
                top == kMasked ? 0.0F : top, keep[i], w.weights + (row + i) * kLanes);
  }
  float* out = w.out + row * w.width;
  seen_product(w.width, w.logits, kLogitRow, values, w.width, seen, keep, out, w.width);
}

// out[i] += weights[i] values for the segments; keys that causality or a window hides from some
// rows go row by row.
static HWY_INLINE void segment_values(const Visibility<>& visibility, const float* weights,
                                      const float* values, Index width, float* out) {
  Index all_begin = 0;
  Index all_end = kMostTileKeys;
  for (int i = 0; i < kStripRows; ++i) {
    all_begin = max(all_begin, visibility.begins[i]);
    all_end = min(all_end, visibility.limits[i]);
  }
  for (Index n = 0; n < visibility.num_segments; ++n) {
    const auto [begin, end] = visibility.segments[n];
    const Index from = min(end, max(begin, all_begin));
    const Index to = max(from, min(end, all_end));
    for (int i = 0; i < kStripRows; ++i) {
      row_product(width, weights + i * kLogitRow, values, width, max(begin, visibility.begins[i]),
                  min(from, visibility.limits[i]), out + i * width);
    }
    for (Index i = 0; i < kStripRows; i += group_rows(width)) {
      group_product(width, weights + i * kLogitRow + from, kLogitRow, 1, values + from * width,
                    width, to - from, kKeep, out + i * width, width);
    }
    for (int i = 0; i < kStripRows; ++i) {
      row_product(width, weights + i * kLogitRow, values, width, max(to, visibility.begins[i]),
                  min(end, visibility.limits[i]), out + i * width);
    }
  }
}

// attend_strip() with options: `rows` of head b * Hkv + n against the tile from first_key on.
static HWY_NOINLINE void attend_strip_with_options(const ForwardScratch& w,
                                                   const AttentionProblem<float>& p, Index b,
                                                   const RowPlace* rows,
                                                   const Visibility<>& visibility, Index strip,
                                                   Index first_key, const float* panels,
                                                   const float* values) {
  const Index row = strip * kStripRows;
  prefetch_bias(p, b, rows, first_key, visibility);
  segment_products(visibility, w.q + row * w.q_row, w.q_row, panels, p.D, w.logits, kLogitRow,
                   w.maxima);
  HWY_ALIGN float keep[round_up(kStripRows, 16)];
  float here[kStripRows];
  for (int i = 0; i < kStripRows; ++i) {
    const RowLogits logits_of(p, b, rows[i], first_key, visibility, i, w.strip);
    here[i] = mask_row(visibility, logits_of, w.logits + i * kLogitRow);
  }
  raise_tops<kStripRows>(here, w.tops + row, keep);
  for (int i = 0; i < kStripRows; ++i) {
    const float top = w.tops[row + i] == kMasked ? 0.0F : w.tops[row + i];
    float* x = w.logits + i * kLogitRow;
    WeightSums sums(w.weights + (row + i) * kLanes, keep[i]);
    for (Index n = 0; n < visibility.num_segments; ++n) {
      const auto [begin, end] = visibility.segments[n];
      sums.add(x, begin / (4 * kLanes) * 4, ceil_div(end, kLanes), top);
    }
    sums.store(w.weights + (row + i) * kLanes);
    if (p.dropout.active) drop_row(p, b, rows[i], visibility, first_key, w.strip.kept, x);
    if (keep[i] == 1.0F) continue;
    float* out = w.out + (row + i) * w.width;
    copy_row(out, w.width, w.width, keep[i], out);
  }
  segment_values(visibility, w.logits, values, w.width, w.out + row * w.width);
}

// The queries of one strip.
static HWY_INLINE void load_queries(const ForwardScratch& w, const AttentionProblem<float>& p,
                                    Index bn, Index first, Index strip) {
  const Index begin = strip * kStripRows;
  RowCursor<const float> row(p, p.q, bn, first + begin);
  for (Index i = begin; i < begin + kStripRows; ++i) {
    copy_row(row.get(), p.D, p.D, p.scale * kLog2E, w.q + i * w.q_row);
    if (first + i + 1 < p.rows()) row.next();
  }
}

// Divides packed row r of head bn by its weights, and notes its softmax.
static HWY_INLINE void finish_row(const AttentionProblem<float>& p, Index bn, Index r,
                                  const float* values, float top, float sum, float* out) {
  copy_row(values, p.Dv, p.Dv, finish_softmax(p, bn, r, top, sum), out);
}

static Index forward_scratch(const AttentionProblem<float>& p) noexcept {
  return ForwardScratch::size(p);
}

// The unit's rows against all tiles of keys: body(strip, its visibility, first key) for each strip
// that sees any of a tile.
template <class Body>
static HWY_INLINE void for_seen_strips(const ForwardScratch& w, const AttentionProblem<float>& p,
                                       Index bn, Index first, Index strips, const RowPlace* places,
                                       const Body& body) {
  const auto [begin, end] = range_of(places, strips * kStripRows, p.S);
  bool loaded[kForwardRows] = {};  // of each strip
  Visibility<> visibility;
  const Index keys = tile_keys(p);
  for (Index s = begin / keys * keys; s < end; s += keys) {
    for (Index strip = 0; strip < strips; ++strip) {
      look(p, bn / p.Hkv, places + strip * kStripRows, s, keys, w.strip, visibility);
      if (visibility.num_segments == 0) continue;
      if (!loaded[strip]) {
        load_queries(w, p, bn, first, strip);
        StripPrefetcher ahead(p, bn, first + strip * kStripRows);
        for (int i = 0; i < kStripRows; ++i) ahead.prefetch_one();
      }
      loaded[strip] = true;
      body(strip, visibility, s);
    }
  }
}

static HWY_NOINLINE void attend_with_options(const ForwardScratch& w,
                                             const AttentionProblem<float>& p, Index bn,
                                             Index first, Index strips) {
  RowPlace places[kForwardRows];
  find_places(p, bn, first, strips * kStripRows, places);
  for_seen_strips(w, p, bn, first, strips, places,
                  [&](Index strip, const Visibility<>& visibility, Index s) {
                    attend_strip_with_options(w, p, bn / p.Hkv, places + strip * kStripRows,
                                              visibility, strip, s, p.packed_keys(bn) + s * p.D,
                                              p.packed_values(bn) + s * w.width);
                  });
}

static HWY_INLINE void attend_plainly(const ForwardScratch& w, const AttentionProblem<float>& p,
                                      Index bn, Index first, Index strips) {
  Index limits[kForwardRows];
  row_limits(p, first, strips * kStripRows, limits);
  const Index keys = tile_keys(p);
  for (Index s = 0; s < limits[strips * kStripRows - 1]; s += keys) {
    for (Index strip = 0; strip < strips; ++strip) {
      const Index row = strip * kStripRows;
      const Visible seen = visible_keys(limits + row, p.rows() - first - row, s, keys);
      if (!seen.any()) continue;
      if (s == 0) load_queries(w, p, bn, first, strip);
      StripPrefetcher ahead(p, bn, first + row);
      attend_strip(w, p, seen, strip, p.packed_keys(bn) + s * p.D,
                   p.packed_values(bn) + s * w.width, s == 0 ? &ahead : nullptr);
    }
  }
}

// Heads one after the other, so that one head's packed keys and values stay in L2; of each head the
// last rows, which see most keys under a causal mask, come first.
static void forward_unit(const AttentionProblem<float>& p, Index unit, float* scratch) noexcept {
  const FlushToZero flush;
  const Index R = p.rows();
  const Index blocks = ceil_div(R, kForwardRows);
  const Index bn = unit / blocks;
  const Index first = (blocks - 1 - unit % blocks) * kForwardRows;
  const Index rows = min(kForwardRows, R - first);
  const Index strips = ceil_div(rows, kStripRows);
  const ForwardScratch w(p, scratch);
  for (Index r = 0; r < strips * kStripRows; ++r) w.tops[r] = kMasked;
  fill(w.out, strips * kStripRows * w.width, 0.0F);
  fill(w.weights, strips * kStripRows * kLanes, 0.0F);
  if (has_options(p)) {
    attend_with_options(w, p, bn, first, strips);
  } else {
    attend_plainly(w, p, bn, first, strips);
  }
  RowCursor<float> out(p, p.out, bn, first);
  for (Index r = 0; r < rows; ++r, out.next()) {
    const float sum =
        hn::GetLane(hn::SumOfLanes(kFloats, hn::LoadU(kFloats, w.weights + r * kLanes)));
    finish_row(p, bn, first + r, w.out + r * w.width, w.tops[r], sum, out.get());
  }
}

}  // namespace grouphead::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
