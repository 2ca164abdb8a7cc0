// The memory of one tile of keys in the backward: what it loads, and what it adds to the gradients.
// Included once per target.

#if defined(GROUPHEAD_KERNELS_ATTENTION_BACKWARD_MEMORY_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef GROUPHEAD_KERNELS_ATTENTION_BACKWARD_MEMORY_INL_H_
#undef GROUPHEAD_KERNELS_ATTENTION_BACKWARD_MEMORY_INL_H_
#else
#define GROUPHEAD_KERNELS_ATTENTION_BACKWARD_MEMORY_INL_H_
#endif

#include "kernels/attention/backward_row-inl.h"
#include "kernels/attention/forward-inl.h"

HWY_BEFORE_NAMESPACE();
namespace grouphead::kernels::HWY_NAMESPACE {

// Memory of a gradient unit: 0.7 MiB at D = Dv = 64, for L2.
struct GradientScratch {
  GradientScratch(const AttentionProblem<float>& p, float* memory)
      : GradientScratch(p, ScratchCarver<float>(memory)) {}
  static Index size(const AttentionProblem<float>& p) { return GradientScratch(p, nullptr).used; }

  GradientRow row(Index i) const {
    return {probs + i * kProbRow,
            d_logits + i * kProbRow,
            d_biased + i * kProbRow,
            tops[i],
            inverses[i],
            delta[i]};
  }

  Index dp, dvp;    // D and Dv in whole vectors
  float* d_q;       // [kGradientRows][dp]: this tile's share, without the scale
  float* d_biased;  // [kGradientRows][kProbRow]: gradients of logits; see biased_gradients()
  float* d_k;       // [kGradientKeys][dp], times log2 e
  float* d_v;       // [kGradientKeys][dvp]
  float* k_panels;  // [kGradientKeys / 16][D][16]
  float* v_panels;  // [kGradientKeys / 16][Dv][16]
  float* k_rows;    // [kGradientKeys][dp]
  float* q;         // [kGradientRows][dp], times scale and log2 e
  float* d_out;     // [kGradientRows][dvp]
  float* probs;     // [kGradientRows][kProbRow]
  float* d_logits;  // the same of products, after d_prob: apart where softcap and bias make it so
  float* tops;      // [kGradientRows]: greatest logits
  float* inverses;  // [kGradientRows]: of the sums of weights
  float* delta;     // [kGradientRows]
  float* unused;    // [kStripRows][lanes]: maxima that nobody asks for
  StripMemory<> strip;
  Index used;

 private:
  GradientScratch(const AttentionProblem<float>& p, ScratchCarver<float> memory)
      : dp(round_up(p.D, kPanelKeys)),
        dvp(round_up(p.Dv, kPanelKeys)),
        d_q(memory.take(kGradientRows * dp)),
        d_biased(memory.take(kGradientRows * kProbRow)),
        d_k(memory.take(kGradientKeys * dp)),
        d_v(memory.take(kGradientKeys * dvp)),
        k_panels(memory.take(kGradientKeys * dp)),
        v_panels(memory.take(kGradientKeys * dvp)),
        k_rows(memory.take(kGradientKeys * dp)),
        q(memory.take(kGradientRows * dp)),
        d_out(memory.take(kGradientRows * dvp)),
        probs(memory.take(kGradientRows * kProbRow)),
        d_logits(p.softcap > 0.0F && p.bias.data != nullptr ? memory.take(kGradientRows * kProbRow)
                                                            : d_biased),
        tops(memory.take(kGradientRows)),
        inverses(memory.take(kGradientRows)),
        delta(memory.take(kGradientRows)),
        unused(memory.take(kStripRows * kPanelKeys)),
        strip(memory),
        used(memory.used()) {}
};

// Keys of a tile in groups, of which products add to all: what lies behind them is not read.
constexpr Index kKeyGroup = 2 * kSumRows;
static_assert(kGradientKeys % kKeyGroup == 0);
static HWY_INLINE Index grouped_keys(const AttentionProblem<float>& p, Index first_key) {
  return round_up(min(kGradientKeys, p.S - first_key), kKeyGroup);
}

static Index gradient_scratch(const AttentionProblem<float>& p) noexcept {
  return GradientScratch::size(p);
}

// Zeros for the NaN and infinities of keys, which would reach rows that do not see them as 0 NaN.
// Rows that see them have probabilities that are NaN.
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
  fill(w.d_k, grouped_keys(p, first) * w.dp, 0.0F);
  fill(w.d_v, grouped_keys(p, first) * w.dvp, 0.0F);
  for (Index j = 0; j < keys; j += kPanelKeys) {
    const Index count = min(kPanelKeys, keys - j);
    if (count < kPanelKeys) {
      fill(w.k_panels + j * p.D, kPanelKeys * p.D, 0.0F);
      fill(w.v_panels + j * p.Dv, kPanelKeys * p.Dv, 0.0F);
    }
    pack_panel(k + j * p.k.time, p.k.time, 0, count, p.D, w.k_panels + j * p.D);
    pack_panel(v + j * p.v.time, p.v.time, 0, count, p.Dv, w.v_panels + j * p.Dv);
  }
  for (Index j = 0; j < keys; ++j) copy_row(k + j * p.k.time, p.D, w.dp, 1.0F, w.k_rows + j * w.dp);
  drop_not_finite(w.k_rows, keys * w.dp);
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

// What comes after the products of the block of rows from `first` on: the rows of the next one, and
// this one's d_q.
struct BlockPrefetcher {
  HWY_INLINE BlockPrefetcher(const AttentionProblem<float>& p, const AttentionGradients<float>& g,
                             Index bn, Index first)
      : queries(p, p.q, bn, first + kGradientRows, p.D),
        d_outs(p, g.d_out, bn, first + kGradientRows, p.Dv),
        d_qs(p, g.d_q, bn, first, p.D) {}
  HWY_INLINE void prefetch_one() {
    queries.prefetch_one();
    d_outs.prefetch_one();
    d_qs.prefetch_one();
  }

  RowPrefetcher<const float> queries, d_outs;
  RowPrefetcher<float> d_qs;
};

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
  const float* const shares = biased_gradients(p, scratch);
  const Index first = block * kGradientRows;
  const Index first_key = tile * kGradientKeys;
  const Index keys = min(kGradientKeys, p.S - first_key);
  for (Index r = first; r < min(first + kGradientRows, p.rows()); ++r) {
    const float* share = shares + (r - first) * kProbRow;
    float* d_bias = p.grid_row(g.d_bias, bn / p.Hkv, bn % p.Hkv, r);
    Index j = 0;
    if (g.d_bias.key == 0) {
      for (; j < keys; ++j) *d_bias += share[j];
      continue;
    }
    d_bias += first_key;
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
