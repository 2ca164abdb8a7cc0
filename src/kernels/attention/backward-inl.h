// The backward by recomputation: one tile of keys against all rows, block by block, with five
// products (S, dP, dQ, dV, dK) per pair of tiles. Included once per target.
// Source: Dao et al. 2022, arXiv:2205.14135, algorithm 4.

#if defined(GROUPHEAD_KERNELS_ATTENTION_BACKWARD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef GROUPHEAD_KERNELS_ATTENTION_BACKWARD_INL_H_
#undef GROUPHEAD_KERNELS_ATTENTION_BACKWARD_INL_H_
#else
#define GROUPHEAD_KERNELS_ATTENTION_BACKWARD_INL_H_
#endif

#include <cmath>

#include "kernels/attention/forward-inl.h"

HWY_BEFORE_NAMESPACE();
namespace grouphead::kernels::HWY_NAMESPACE {

constexpr Index kProbRow = kGradientKeys + 16;  // not a multiple of 64: see kLogitRow

// Memory of a gradient unit: 0.7 MiB at D = Dv = 64, for L2.
struct GradientScratch {
  GradientScratch(const AttentionProblem<float>& p, float* scratch)
      : dp(round_up(p.D, kPanelKeys)),
        dvp(round_up(p.Dv, kPanelKeys)),
        d_q(scratch),
        d_k(d_q + kGradientRows * dp),
        d_v(d_k + kGradientKeys * dp),
        k_panels(d_v + kGradientKeys * dvp),
        v_panels(k_panels + kGradientKeys * dp),
        k_rows(v_panels + kGradientKeys * dvp),
        q(k_rows + kGradientKeys * dp),
        d_out(q + kGradientRows * dp),
        probs(d_out + kGradientRows * dvp),
        d_logits(probs + kGradientRows * kProbRow),
        tops(d_logits + kGradientRows * kProbRow),
        inverses(tops + kGradientRows),
        delta(inverses + kGradientRows),
        unused(delta + kGradientRows),
        strip(unused + kStripRows * kPanelKeys) {}
  static Index size(const AttentionProblem<float>& p) {
    return (3 * kGradientKeys + 2 * kGradientRows) * round_up(p.D, kPanelKeys) +
           (2 * kGradientKeys + kGradientRows) * round_up(p.Dv, kPanelKeys) +
           kGradientRows * (2 * kProbRow + 3) + kStripRows * kPanelKeys + StripMemory<>::kSize;
  }
  Index dp, dvp;    // D and Dv in whole vectors
  float* d_q;       // [kGradientRows][dp]: this tile's share, without the scale
  float* d_k;       // [kGradientKeys][dp], times log2 e
  float* d_v;       // [kGradientKeys][dvp]
  float* k_panels;  // [kGradientKeys / 16][D][16]
  float* v_panels;  // [kGradientKeys / 16][Dv][16]
  float* k_rows;    // [kGradientKeys][dp]
  float* q;         // [kGradientRows][dp], times scale and log2 e
  float* d_out;     // [kGradientRows][dvp]
  float* probs;     // [kGradientRows][kProbRow]
  float* d_logits;  // [kGradientRows][kProbRow]: logits, then d_prob, then their gradient
  float* tops;      // [kGradientRows]: greatest logits
  float* inverses;  // [kGradientRows]: of the sums of weights
  float* delta;     // [kGradientRows]
  float* unused;    // [kStripRows][lanes]: maxima that nobody asks for
  StripMemory<> strip;
};

static Index gradient_scratch(const AttentionProblem<float>& p) noexcept {
  return GradientScratch::size(p);
}

// sums[i] = a_i b_i, each by one chain of multiply-adds like the elements of Tile. So out dO has
// the roundings of dP: where a row's softmax is all but one key's, out is its value, and dP - delta
// the zero it should be.
template <int M>
static HWY_INLINE void chained_dots(const float* const* a, const float* const* b, Index n,
                                    float* sums) {
  constexpr hn::CappedTag<float, 1> kOne;
  hn::Vec<hn::CappedTag<float, 1>> chains[M];
  HWY_UNROLL(16)
  for (int i = 0; i < M; ++i) chains[i] = hn::Zero(kOne);
  for (Index d = 0; d < n; ++d) {
    HWY_UNROLL(16)
    for (int i = 0; i < M; ++i) {
      chains[i] = hn::MulAdd(hn::LoadU(kOne, a[i] + d), hn::LoadU(kOne, b[i] + d), chains[i]);
    }
  }
  HWY_UNROLL(16)
  for (int i = 0; i < M; ++i) sums[i] = hn::GetLane(chains[i]);
}

static void gradient_delta(const AttentionProblem<float>& p, const AttentionGradients<float>& g,
                           Index bn, Index block) noexcept {
  const Index first = block * kGradientRows;
  const Index end = min(first + kGradientRows, p.rows());
  RowCursor<float> out(p, p.out, bn, first);
  RowCursor<const float> d_out(p, g.d_out, bn, first);
  RowCursor<float> delta(p, statistics(p, g.delta), bn, first);
  constexpr int kRows = 8;  // as many chains as hide the latency of one
  for (Index r = first; r < end; r += kRows) {
    const float* a[kRows];
    const float* b[kRows];
    float sums[kRows];
    const Index count = min(kRows, end - r);
    for (Index i = 0; i < kRows; ++i) {
      a[i] = out.get(), b[i] = d_out.get();
      if (r + i + 1 < end) out.next(), d_out.next();
    }
    chained_dots<kRows>(a, b, p.Dv, sums);
    for (Index i = 0; i < count; ++i, delta.next()) *delta.get() = sums[i];
  }
}

// Zeros for NaN and infinities, which would reach rows and keys that do not see them as 0 NaN. Who
// sees them knows by his probabilities.
static HWY_INLINE void drop_not_finite(float* x, Index n) {  // n: whole vectors
  for (Index i = 0; i < n; i += kLanes) {
    const Vector v = hn::LoadU(kFloats, x + i);
    const auto finite = hn::Eq(hn::Sub(v, v), hn::Zero(kFloats));
    hn::StoreU(hn::IfThenElseZero(finite, v), kFloats, x + i);
  }
}

static void gradient_begin(const AttentionProblem<float>& p, Index bn, Index tile,
                           float* scratch) noexcept {
  const GradientScratch w(p, scratch);
  const Index first = tile * kGradientKeys;
  const Index keys = min(kGradientKeys, p.S - first);
  const float* k = p.k.data + bn / p.Hkv * p.k.batch + bn % p.Hkv * p.k.head + first * p.k.time;
  const float* v = p.v.data + bn / p.Hkv * p.v.batch + bn % p.Hkv * p.v.head + first * p.v.time;
  fill(w.d_k, kGradientKeys * w.dp, 0.0F);
  fill(w.d_v, kGradientKeys * w.dvp, 0.0F);
  for (Index j = 0; j < kGradientKeys; j += kPanelKeys) {
    const Index count = max(0, min(kPanelKeys, keys - j));
    if (count < kPanelKeys) {
      fill(w.k_panels + j * p.D, kPanelKeys * p.D, 0.0F);
      fill(w.v_panels + j * p.Dv, kPanelKeys * p.Dv, 0.0F);
    }
    pack_panel(k + j * p.k.time, p.k.time, 0, count, p.D, w.k_panels + j * p.D);
    pack_panel(v + j * p.v.time, p.v.time, 0, count, p.Dv, w.v_panels + j * p.Dv);
  }
  for (Index j = 0; j < keys; ++j) copy_row(k + j * p.k.time, p.D, w.dp, 1.0F, w.k_rows + j * w.dp);
  fill(w.k_rows + keys * w.dp, (kGradientKeys - keys) * w.dp, 0.0F);
  if (has_options(p)) drop_not_finite(w.k_rows, keys * w.dp);
}

// Rows of a block, the last one repeated to whole strips.
static void load_block(const GradientScratch& w, const AttentionProblem<float>& p,
                       const AttentionGradients<float>& g, Index bn, Index first, Index padded) {
  RowCursor<const float> q(p, p.q, bn, first);
  RowCursor<const float> d_out(p, g.d_out, bn, first);
  RowCursor<float> top(p, statistics(p, p.tops), bn, first);
  RowCursor<float> sum(p, statistics(p, p.sums), bn, first);
  RowCursor<float> delta(p, statistics(p, g.delta), bn, first);
  for (Index i = 0; i < padded; ++i) {
    copy_row(q.get(), p.D, w.dp, p.scale * kLog2E, w.q + i * w.dp);
    copy_row(d_out.get(), p.Dv, w.dvp, 1.0F, w.d_out + i * w.dvp);
    w.tops[i] = *top.get();
    // Zero makes every probability of a repeated row zero, as for a row without keys.
    w.inverses[i] = first + i < p.rows() ? inverse_of(*sum.get()) : 0.0F;
    w.delta[i] = *delta.get();
    if (first + i + 1 >= p.rows()) continue;
    q.next(), d_out.next(), top.next(), sum.next(), delta.next();
  }
}

// Whether delta is summed here, sum_j prob d_prob, instead of sum_d out d_out: where one tile has
// all keys. The sum then has the very roundings of what it is subtracted from, which matters where
// the softmax is sharp. Dropout would be drawn twice for it.
static HWY_INLINE bool has_own_delta(const AttentionProblem<float>& p) {
  return p.S <= kGradientKeys && !p.dropout.active;
}

// What comes after the products of the block of rows from `first` on: the rows of the next one, and
// this one's d_q.
struct BlockAhead {
  HWY_INLINE BlockAhead(const AttentionProblem<float>& p, const AttentionGradients<float>& g,
                        Index bn, Index first)
      : queries(p, p.q, bn, first + kGradientRows, p.D),
        d_outs(p, g.d_out, bn, first + kGradientRows, p.Dv),
        d_qs(p, g.d_q, bn, first, p.D) {}
  HWY_INLINE void ask_for_one() {
    queries.ask_for_one();
    d_outs.ask_for_one();
    d_qs.ask_for_one();
  }

  RowsAhead<const float> queries, d_outs;
  RowsAhead<float> d_qs;
};

// P = softmax(S) and dS = P (dP - delta) of one strip, then its share of dQ = dS K.
static HWY_INLINE void gradient_strip(const GradientScratch& w, const AttentionProblem<float>& p,
                                      const Visible& seen, Index row, BlockAhead& ahead) {
  float* probs = w.probs + row * kProbRow;
  float* d_logits = w.d_logits + row * kProbRow;
  const auto ask = [&]() HWY_ATTR { ahead.ask_for_one(); };
  logit_strip(w.q + row * w.dp, w.dp, w.k_panels, p.D, seen, probs, kProbRow, w.unused, ask);
  logit_strip(w.d_out + row * w.dvp, w.dvp, w.v_panels, p.Dv, seen, d_logits, kProbRow, w.unused,
              ask);
  for (int i = 0; i < kStripRows; ++i) {
    const Index columns = i < seen.rows ? round_up(seen.limits[i], kLanes) : 0;
    const RowSoftmax softmax(w.tops[row + i], w.inverses[row + i]);
    float* prob_at = probs + i * kProbRow;
    float* d_logit_at = d_logits + i * kProbRow;
    Vector own_delta = hn::Zero(kFloats);
    for (Index c = 0; c < columns; c += kLanes) {
      const Vector prob = softmax(hn::LoadU(kFloats, prob_at + c));
      own_delta = hn::MulAdd(prob, hn::LoadU(kFloats, d_logit_at + c), own_delta);
      hn::StoreU(prob, kFloats, prob_at + c);
    }
    const Vector delta =
        has_own_delta(p) ? hn::SumOfLanes(kFloats, own_delta) : hn::Set(kFloats, w.delta[row + i]);
    for (Index c = 0; c < columns; c += kLanes) {
      const Vector d_prob = hn::LoadU(kFloats, d_logit_at + c);
      hn::StoreU(hn::Mul(hn::LoadU(kFloats, prob_at + c), hn::Sub(d_prob, delta)), kFloats,
                 d_logit_at + c);
    }
    fill(probs + i * kProbRow + columns, kGradientKeys - columns, 0.0F);
    fill(d_logits + i * kProbRow + columns, kGradientKeys - columns, 0.0F);
  }
  float* d_q = w.d_q + row * w.dp;
  seen_product(w.dp, d_logits, kProbRow, w.k_rows, w.dp, seen, nullptr, d_q, w.dp);
}

// Row i of a strip with options: probabilities and gradients of logits from the two products.
static HWY_INLINE void gradient_row(const AttentionProblem<float>& p,
                                    const AttentionGradients<float>& g, const GradientScratch& w,
                                    Index b, const RowPlace& place, const Visibility<>& visibility,
                                    int i, Index row, Index first_key) {
  const RowLogits logits_of(p, b, place, first_key, visibility, i, w.strip);
  const RowSoftmax softmax(w.tops[row], w.inverses[row]);
  const Index element = ((b * p.Hq + place.h) * p.T + place.t) * p.S + first_key;
  float* probs = w.probs + row * kProbRow;
  float* d_logits = w.d_logits + row * kProbRow;
  const Vector one = hn::Set(kFloats, 1.0F);
  // body(c, which keys from c on are hidden, probabilities, their gradients, what dropout does)
  const auto for_keys = [&](Index begin, Index end, const auto& body) HWY_ATTR {
    const float* d_scores = g.d_scores == nullptr ? nullptr
                                                  : row_part(g.d_scores + element, 1, begin, end,
                                                             p.S - first_key, w.strip.d_scores);
    const float* kept = p.dropout.active
                            ? kept_of(p, b, place, first_key + begin, end - begin, w.strip.kept)
                            : nullptr;
    for (Index c = begin; c < end; c += kLanes) {
      Vector logit = hn::LoadU(kFloats, probs + c);
      const auto hidden = logits_of(c, logit);
      const Vector scale = kept == nullptr ? one : hn::LoadU(kFloats, kept + c - begin);
      Vector d_prob = hn::Mul(hn::LoadU(kFloats, d_logits + c), scale);
      if (d_scores != nullptr) d_prob = hn::Add(d_prob, hn::LoadU(kFloats, d_scores + c));
      body(c, hidden, hn::IfThenZeroElse(hidden, softmax(logit)), d_prob, scale);
    }
  };
  Vector delta = hn::Set(kFloats, w.delta[row]);
  if (has_own_delta(p)) {
    Vector sum = hn::Zero(kFloats);
    for (Index n = 0; n < visibility.num_segments; ++n) {
      for_keys(visibility.segments[n].begin, round_up(visibility.segments[n].end, kLanes),
               [&](Index, auto hidden, Vector prob, Vector d_prob, Vector)
                   HWY_ATTR { sum = hn::MulAdd(prob, hn::IfThenZeroElse(hidden, d_prob), sum); });
    }
    delta = hn::SumOfLanes(kFloats, sum);
  }
  Index done = 0;
  for (Index n = 0; n < visibility.num_segments; ++n) {
    const Index begin = visibility.segments[n].begin;
    const Index end = round_up(visibility.segments[n].end, kLanes);
    fill(probs + done, begin - done, 0.0F);
    fill(d_logits + done, begin - done, 0.0F);
    done = end;
    for_keys(begin, end,
             [&](Index c, auto hidden, Vector prob, Vector d_prob, Vector scale) HWY_ATTR {
               // The softmax of one key is constant: dropout must leave nothing of its gradient.
               const Vector here = hn::IfThenElse(hn::Eq(prob, one), d_prob, delta);
               Vector d_logit = hn::IfThenZeroElse(hidden, hn::Mul(prob, hn::Sub(d_prob, here)));
               if (place.fully_masked) d_logit = hn::Zero(kFloats);
               hn::StoreU(hn::Mul(prob, scale), kFloats, probs + c);
               hn::StoreU(d_logit, kFloats, d_logits + c);
             });
  }
  fill(probs + done, kGradientKeys - done, 0.0F);
  fill(d_logits + done, kGradientKeys - done, 0.0F);
}

// gradient_strip() with options.
static HWY_NOINLINE void gradient_strip_with_options(const GradientScratch& w,
                                                     const AttentionProblem<float>& p,
                                                     const AttentionGradients<float>& g, Index b,
                                                     const RowPlace* places,
                                                     const Visibility<>& visibility, Index row,
                                                     Index first_key, BlockAhead& ahead) {
  prefetch_bias(p, b, places + row, first_key, visibility);
  segment_products(visibility, w.q + row * w.dp, w.dp, w.k_panels, p.D, w.probs + row * kProbRow,
                   kProbRow, w.unused);
  segment_products(visibility, w.d_out + row * w.dvp, w.dvp, w.v_panels, p.Dv,
                   w.d_logits + row * kProbRow, kProbRow, w.unused);
  for (int i = 0; i < kStripRows; ++i) {
    ahead.ask_for_one();
    gradient_row(p, g, w, b, places[row + i], visibility, i, row + i, first_key);
  }
  for (Index n = 0; n < visibility.num_segments; ++n) {
    const auto [begin, end] = visibility.segments[n];
    for (Index i = row; i < row + kStripRows; i += group_rows(w.dp)) {
      group_product(w.dp, w.d_logits + i * kProbRow + begin, kProbRow, 1, w.k_rows + begin * w.dp,
                    w.dp, end - begin, kKeep, w.d_q + i * w.dp, w.dp);
    }
  }
}

// dV += P^T dO and dK += dS^T Q for kKeyGroup keys from j on and rows [begin, end) of a block.
constexpr Index kKeyGroup = 2 * kSumRows;
static HWY_INLINE void add_to_keys(const GradientScratch& w, Index j, Index begin, Index end) {
  for (Index i = j; i < j + kKeyGroup; i += group_rows(w.dvp)) {
    group_product(w.dvp, w.probs + begin * kProbRow + i, 1, kProbRow, w.d_out + begin * w.dvp,
                  w.dvp, end - begin, kKeep, w.d_v + i * w.dvp, w.dvp);
  }
  for (Index i = j; i < j + kKeyGroup; i += group_rows(w.dp)) {
    group_product(w.dp, w.d_logits + begin * kProbRow + i, 1, kProbRow, w.q + begin * w.dp, w.dp,
                  end - begin, kKeep, w.d_k + i * w.dp, w.dp);
  }
}

static HWY_NOINLINE void gradient_block_with_options(const GradientScratch& w,
                                                     const AttentionProblem<float>& p,
                                                     const AttentionGradients<float>& g, Index bn,
                                                     Index first_key, Index first, Index padded) {
  constexpr Index kStrips = kGradientRows / kStripRows;
  const Index b = bn / p.Hkv;
  RowPlace places[kGradientRows];
  find_places(p, bn, first, padded, places);
  BlockAhead ahead(p, g, bn, first);
  Visibility<> visibility;
  std::uint32_t groups[kStrips];  // which kKeyGroup keys a strip sees any of, a bit for each
  static_assert(kGradientKeys / kKeyGroup <= 32);
  for (Index row = 0; row < padded; row += kStripRows) {
    std::uint32_t& seen = groups[row / kStripRows];
    seen = 0;
    look(p, b, places + row, first_key, kGradientKeys, w.strip, visibility);
    if (visibility.num_segments == 0) {
      fill(w.d_logits + row * kProbRow, kStripRows * kProbRow, 0.0F);  // for d_bias
      continue;
    }
    gradient_strip_with_options(w, p, g, b, places, visibility, row, first_key, ahead);
    for (Index n = 0; n < visibility.num_segments; ++n) {
      const auto [begin, end] = visibility.segments[n];
      for (Index x = begin / kKeyGroup; x * kKeyGroup < end; ++x) seen |= 1U << x;
    }
  }
  drop_not_finite(w.q, padded * w.dp);
  const Index keys = min(kGradientKeys, p.S - first_key);
  for (Index j = 0; j < keys; j += kKeyGroup) {
    const auto sees = [&](Index row) {
      return row < padded && (groups[row / kStripRows] >> j / kKeyGroup & 1) != 0;
    };
    for (Index row = 0; row < padded; row += kStripRows) {
      if (!sees(row)) continue;
      const Index begin = row;
      while (sees(row)) row += kStripRows;
      add_to_keys(w, j, begin, row);
    }
  }
}

static void gradient_block(const AttentionProblem<float>& p, const AttentionGradients<float>& g,
                           Index bn, Index tile, Index block, float* scratch) noexcept {
  const GradientScratch w(p, scratch);
  const Index first_key = tile * kGradientKeys;
  const Index first = block * kGradientRows;
  const Index rows = min(kGradientRows, p.rows() - first);
  const Index padded = round_up(rows, kStripRows);
  load_block(w, p, g, bn, first, padded);
  fill(w.d_q, padded * w.dp, 0.0F);
  if (has_options(p) || g.d_scores != nullptr) {
    gradient_block_with_options(w, p, g, bn, first_key, first, padded);
    return;
  }
  BlockAhead ahead(p, g, bn, first);
  Index limits[kGradientRows];
  row_limits(p, first, padded, limits);
  for (Index row = 0; row < padded; row += kStripRows) {
    const Visible seen =
        visible_keys(limits + row, p.rows() - first - row, first_key, kGradientKeys);
    if (seen.any()) gradient_strip(w, p, seen, row, ahead);
  }
  // From the first row on that sees key j.
  const Index keys = min(kGradientKeys, p.S - first_key);
  Index row = 0;
  for (Index j = 0; j < keys; j += kKeyGroup) {
    while (row < rows && limits[row] <= first_key + j) ++row;
    add_to_keys(w, j, row, rows);
  }
}

static void gradient_add(const AttentionProblem<float>& p, const AttentionGradients<float>& g,
                         Index bn, Index block, bool is_first, const float* scratch) noexcept {
  const Index dp = round_up(p.D, kPanelKeys);
  const Index first = block * kGradientRows;
  RowCursor<float> row(p, g.d_q, bn, first);
  for (Index r = first; r < min(first + kGradientRows, p.rows()); ++r, row.next()) {
    float* d_q = row.get();
    const float* share = scratch + (r - first) * dp;
    if (is_first) {
      for (Index d = 0; d < p.D; ++d) d_q[d] = 0.0F;
    }
    Index d = 0;
    for (; d + kLanes <= p.D; d += kLanes) {
      const Vector sum = hn::MulAdd(hn::Set(kFloats, p.scale), hn::LoadU(kFloats, share + d),
                                    hn::LoadU(kFloats, d_q + d));
      hn::StoreU(sum, kFloats, d_q + d);
    }
    for (; d < p.D; ++d) d_q[d] += p.scale * share[d];
  }
}

static void gradient_add_bias(const AttentionProblem<float>& p, const AttentionGradients<float>& g,
                              Index bn, Index tile, Index block, const float* scratch) noexcept {
  const GradientScratch w(p, const_cast<float*>(scratch));
  const Index first = block * kGradientRows;
  const Index first_key = tile * kGradientKeys;
  const Index keys = min(kGradientKeys, p.S - first_key);
  for (Index r = first; r < min(first + kGradientRows, p.rows()); ++r) {
    const float* share = w.d_logits + (r - first) * kProbRow;
    float* d_bias = p.grid_row(g.d_bias, bn / p.Hkv, bn % p.Hkv, r) + first_key;
    Index j = 0;
    for (; j + kLanes <= keys; j += kLanes) {
      hn::StoreU(hn::Add(hn::LoadU(kFloats, d_bias + j), hn::LoadU(kFloats, share + j)), kFloats,
                 d_bias + j);
    }
    for (; j < keys; ++j) d_bias[j] += share[j];
  }
}

static void gradient_end(const AttentionProblem<float>& p, const AttentionGradients<float>& g,
                         Index bn, Index tile, float* scratch) noexcept {
  const GradientScratch w(p, scratch);
  const Index first = tile * kGradientKeys;
  const Index b = bn / p.Hkv;
  const Index n = bn % p.Hkv;
  for (Index j = 0; j < min(kGradientKeys, p.S - first); ++j) {
    float* d_k = g.d_k.data + b * g.d_k.batch + (first + j) * g.d_k.time + n * g.d_k.head;
    float* d_v = g.d_v.data + b * g.d_v.batch + (first + j) * g.d_v.time + n * g.d_v.head;
    copy_row(w.d_k + j * w.dp, p.D, p.D, kLn2, d_k);  // ln 2 undoes the log2 e in q
    copy_row(w.d_v + j * w.dvp, p.Dv, p.Dv, 1.0F, d_v);
  }
}

}  // namespace grouphead::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
