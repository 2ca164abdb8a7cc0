// The tiles of logits and sums, and the small steps that all attention kernels are made of.
// Included once per target.

#if defined(GROUPHEAD_KERNELS_ATTENTION_TILES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef GROUPHEAD_KERNELS_ATTENTION_TILES_INL_H_
#undef GROUPHEAD_KERNELS_ATTENTION_TILES_INL_H_
#else
#define GROUPHEAD_KERNELS_ATTENTION_TILES_INL_H_
#endif

#include <cmath>
#include <limits>

#include "kernels/attention/problem.h"
#include "kernels/cpu/math-inl.h"
#include "kernels/cpu/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace grouphead::kernels::HWY_NAMESPACE {

// Register tiles, rows x vectors of sums. AVX3 has 32 registers: 24 sums, what a step multiplies, 1
// broadcast; per step 24 multiply-adds (12 cycles with two units). Logits read 3 panels of keys
// side by side, since 4 of them may lie a power of two apart; sums over keys read 4 vectors of a
// row, as long as they are. On a Sapphire Rapids 8 x 3 have 12 % more than 12 x 2, 6 x 4 (logits) 3
// %, 6 x 4 (sums) 6 %. ARM has as many, and panels of 16 keys are 4 of its vectors or 2. SSE4 and
// AVX2 have 16 registers: 12 sums.
constexpr bool kHas32 = GROUPHEAD_HAS_32_REGISTERS;
constexpr int kLogitRows = HWY_TARGET == HWY_AVX3 ? 8 : 6;
constexpr int kLogitVectors = HWY_TARGET == HWY_AVX3 ? 3 : kHas32 ? 4 : 2;
constexpr int kSumRows = 6;
constexpr int kSumVectors = kHas32 ? 4 : 2;
// Rows that go through the softmax together: whole tiles of both kinds.
constexpr int kStripRows = kHas32 ? 24 : 6;

// Keys of one softmax step at most.
constexpr Index kMostTileKeys = 512;

// The logit of a hidden key, and the greatest of a row that has seen none: below any other. Where
// both meet, their difference would be NaN.
constexpr float kMasked = -std::numeric_limits<float>::infinity();
constexpr float kLog2E = 1.44269504088896340736F;
constexpr float kLn2 = 0.693147180559945309F;

// Offset of vector j of keys in panels [S/16][D][16].
struct InPanels {
  Index panel;
  HWY_INLINE Index operator()(int j) const {
    return j * kLanes / kPanelKeys * panel + j * kLanes % kPanelKeys;
  }
};

// First element for key j (a multiple of the lanes) in packed panels.
static HWY_INLINE const float* panel_at(const float* panels, Index j, Index D) {
  return panels + j / kPanelKeys * kPanelKeys * D + j % kPanelKeys;
}

// logits[i][.] = q_i k_j of kLogitRows rows for N vectors of keys from key j on; maxima[i] = lane
// maxima so far. kSome: keys from limits[i] on are masked.
template <int N, bool kSome>
static HWY_NOINLINE void logit_tile(const float* q, Index q_row, const float* panels, Index D,
                                    float* HWY_RESTRICT logits, Index logit_row,
                                    float* HWY_RESTRICT maxima, const Index* limits, Index j) {
  Tile<kLogitRows, N> tile;
  tile.clear();
  tile.run(q, q_row, 1, panel_at(panels, j, D), InPanels{D * kPanelKeys}, kPanelKeys, D);
  HWY_UNROLL(16)
  for (int i = 0; i < kLogitRows; ++i) {
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

// The same for up to kLogitVectors vectors of keys [j, end).
template <bool kSome>
static HWY_INLINE void logit_part(const float* q, Index q_row, const float* panels, Index D,
                                  float* HWY_RESTRICT logits, Index logit_row,
                                  float* HWY_RESTRICT maxima, const Index* limits, Index j,
                                  Index end) {
  if (j + min(2, kLogitVectors - 1) * kLanes < end) {
    logit_tile<kLogitVectors, kSome>(q, q_row, panels, D, logits, logit_row, maxima, limits, j);
  } else if (kLogitVectors > 2 && j + kLanes < end) {
    logit_tile<2, kSome>(q, q_row, panels, D, logits, logit_row, maxima, limits, j);
  } else if (j < end) {
    logit_tile<1, kSome>(q, q_row, panels, D, logits, logit_row, maxima, limits, j);
  }
}

// c[i][.] = alpha[i] c[i][.] + sum_k a[i * a_row + k * a_step] b[k][.]
template <int M, int N>
static HWY_NOINLINE void product(const float* a, Index a_row, Index a_step, const float* b,
                                 Index b_row, Index steps, const float* alpha,
                                 float* HWY_RESTRICT c, Index c_row) {
  Tile<M, N> tile;
  HWY_UNROLL(16)
  for (int i = 0; i < M; ++i) {
    const Vector keep = hn::Set(kFloats, alpha[i]);
    HWY_UNROLL(16)
    for (int j = 0; j < N; ++j) {
      tile.sums[i][j] = hn::Mul(keep, hn::LoadU(kFloats, c + i * c_row + j * kLanes));
    }
  }
  tile.run(a, a_row, a_step, b, InRow(), b_row, steps);
  HWY_UNROLL(16)
  for (int i = 0; i < M; ++i) {
    HWY_UNROLL(16)
    for (int j = 0; j < N; ++j) hn::StoreU(tile.sums[i][j], kFloats, c + i * c_row + j * kLanes);
  }
}

// For a product that adds to c.
alignas(64) constexpr float kKeep[2 * kSumRows] = {1.0F, 1.0F, 1.0F, 1.0F, 1.0F, 1.0F,
                                                   1.0F, 1.0F, 1.0F, 1.0F, 1.0F, 1.0F};

// Rows that group_product() takes: where `width` is too short for wide tiles, tall ones.
static HWY_INLINE bool is_narrow(Index width) { return kHas32 && width <= 2 * kLanes; }
static HWY_INLINE Index group_rows(Index width) {
  return is_narrow(width) ? 2 * kSumRows : kSumRows;
}

// product() for group_rows() and `width` columns, a multiple of the lanes.
static HWY_INLINE void group_product(Index width, const float* a, Index a_row, Index a_step,
                                     const float* b, Index b_row, Index steps, const float* alpha,
                                     float* c, Index c_row) {
  constexpr int kTall = kHas32 ? 2 * kSumRows : kSumRows;
  if (is_narrow(width)) {
    const auto tall = width > kLanes ? product<kTall, 2> : product<kTall, 1>;
    return tall(a, a_row, a_step, b, b_row, steps, alpha, c, c_row);
  }
  constexpr Index kStep = kSumVectors * kLanes;
  Index x = 0;
  for (; x + kStep <= width; x += kStep) {
    product<kSumRows, kSumVectors>(a, a_row, a_step, b + x, b_row, steps, alpha, c + x, c_row);
  }
  if constexpr (kSumVectors > 2) {
    for (; x + 2 * kLanes <= width; x += 2 * kLanes) {
      product<kSumRows, 2>(a, a_row, a_step, b + x, b_row, steps, alpha, c + x, c_row);
    }
  }
  if (x < width) {
    product<kSumRows, 1>(a, a_row, a_step, b + x, b_row, steps, alpha, c + x, c_row);
  }
}

// The keys that only some rows of a strip see: c[i][.] += a[i][k] b[k][.] for begin <= k < end
// alone. Zero times a NaN that a row must not see would still be NaN.
static HWY_INLINE void row_product(Index width, const float* a, const float* b, Index b_row,
                                   Index begin, Index end, float* HWY_RESTRICT c) {
  if (end <= begin) return;
  for (Index x = 0; x < width; x += kLanes) {
    Vector sum = hn::LoadU(kFloats, c + x);
    for (Index k = begin; k < end; ++k) {
      sum = hn::MulAdd(hn::Set(kFloats, a[k]), hn::LoadU(kFloats, b + k * b_row + x), sum);
    }
    hn::StoreU(sum, kFloats, c + x);
  }
}

// row_product() of each row from `begin` to its own limit.
static HWY_INLINE void ragged_product(Index width, const float* a, Index a_row, const float* b,
                                      Index b_row, Index begin, const Index* limits, Index rows,
                                      float* c, Index c_row) {
  for (Index i = 0; i < rows; ++i) {
    row_product(width, a + i * a_row, b, b_row, begin, limits[i], c + i * c_row);
  }
}

// to[0 .. padded) = scale * from[0 .. n), zeros behind; may be in place.
static HWY_INLINE void copy_row(const float* from, Index n, Index padded, float scale, float* to) {
  Index d = 0;
  for (; d + kLanes <= n; d += kLanes) {
    hn::StoreU(hn::Mul(hn::Set(kFloats, scale), hn::LoadU(kFloats, from + d)), kFloats, to + d);
  }
  for (; d < n; ++d) to[d] = scale * from[d];
  for (; d < padded; ++d) to[d] = 0.0F;
}

static HWY_INLINE void fill(float* HWY_RESTRICT to, Index n, float value) {  // n: whole vectors
  for (Index i = 0; i < n; i += kLanes) hn::StoreU(hn::Set(kFloats, value), kFloats, to + i);
}

// Moves the maxima of a strip's rows to those of this tile, where these are greater; what the sums
// so far are to be multiplied with, to whole vectors.
template <int kRows>
static HWY_INLINE void raise_tops(const float* here, float* tops, float* keep) {
  for (int i = 0; i < kRows; ++i) {
    const float now = here[i] > tops[i] ? here[i] : tops[i];
    keep[i] = now == kMasked ? 0.0F : tops[i] - now;
    tops[i] = now;
  }
  for (Index i = kRows; i < round_up(kRows, kLanes); ++i) keep[i] = 0.0F;
  for (Index i = 0; i < kRows; i += kLanes) {
    hn::StoreU(exp2_neg(hn::LoadU(kFloats, keep + i)), kFloats, keep + i);
  }
}

static HWY_INLINE float inverse_of(float sum) { return sum == 0.0F ? 0.0F : 1.0F / sum; }

// What turns the sum over values of packed row r of head bn into its result: one over its weights,
// of which each head's sink is one more. Notes its softmax.
static HWY_INLINE float finish_softmax(const AttentionProblem<float>& p, Index bn, Index r,
                                       float top, float sum) {
  float share = 1.0F;
  if (p.sinks != nullptr) {
    const float sink = p.sinks[p.head(bn % p.Hkv, r)] * kLog2E;
    const float above = sum == 0.0F || sink > top ? sink : top;
    share = sum == 0.0F ? 0.0F : exp2f(top - above);
    sum = sum * share + (sink == kMasked ? 0.0F : exp2f(sink - above));
    top = above;
  }
  p.note_softmax(bn, r, top, sum);
  return share * inverse_of(sum);
}

// Probabilities of one row from its logits: the weights that the forward gave them, over their sum.
struct RowSoftmax {
  HWY_INLINE RowSoftmax(float top, float inverse)
      : top_(hn::Set(kFloats, top)), inverse_(hn::Set(kFloats, inverse)) {}
  HWY_INLINE Vector operator()(Vector logit) const {
    return hn::Mul(exp2_neg(hn::Sub(logit, top_)), inverse_);
  }

 private:
  Vector top_, inverse_;
};

// Packed rows of head bn one after the other: the divisions of AttentionProblem::row() only once.
template <class E>
class RowCursor {
 public:
  HWY_INLINE RowCursor(const AttentionProblem<float>& p, const Heads<E>& x, Index bn, Index first)
      : group_(p.group()),
        g_(first % group_),
        head_(x.head),
        wrap_(x.time - (group_ - 1) * x.head),
        row_(x.data + bn / p.Hkv * x.batch + first / group_ * x.time +
             (bn % p.Hkv * group_ + g_) * x.head) {}
  HWY_INLINE E* get() const { return row_; }
  HWY_INLINE void next() {
    const bool same_position = ++g_ < group_;
    row_ += same_position ? head_ : wrap_;
    if (!same_position) g_ = 0;
  }

 private:
  Index group_, g_, head_, wrap_;
  E* row_;
};

// [B, Hq, T] values as rows of one element.
template <class E>
static HWY_INLINE Heads<E> statistics(const AttentionProblem<float>& p, E* values) {
  return {values + p.place(0, 0, 0), p.place(1, 0, 0) - p.place(0, 0, 0), 1,
          p.place(0, 1, 0) - p.place(0, 0, 0)};
}

// 128-bit pieces of the rows 0, 4, 8, ... side by side.
template <class Tag>
static HWY_INLINE hn::Vec<Tag> load_blocks(Tag tag, const float* from, Index four_rows) {
  if constexpr (hn::MaxLanes(Tag()) <= 4) {
    return hn::LoadU(tag, from);
  } else {
    const hn::Half<Tag> half;
    // Not the half's MaxLanes(), which SVE halves twice.
    const Index skip = four_rows * static_cast<Index>(hn::MaxLanes(Tag()) / 2) / 4;
    return hn::Combine(tag, load_blocks(half, from + skip, four_rows),
                       load_blocks(half, from, four_rows));
  }
}

// Lanes [first, first + count) of to [D][16] = transpose of `count` rows; 0.3 shuffles per value
// for a whole panel.
static HWY_INLINE void pack_panel(const float* HWY_RESTRICT from, Index row, Index first,
                                  Index count, Index D, float* HWY_RESTRICT to) {
  Index d = 0;
  const hn::Repartition<std::uint64_t, Floats> pairs;
  for (; count == kPanelKeys && d + 4 <= D; d += 4) {
    for (Index j = 0; j < kPanelKeys; j += kLanes) {
      const float* p = from + j * row + d;
      const Vector r0 = load_blocks(kFloats, p, 4 * row);
      const Vector r1 = load_blocks(kFloats, p + row, 4 * row);
      const Vector r2 = load_blocks(kFloats, p + 2 * row, 4 * row);
      const Vector r3 = load_blocks(kFloats, p + 3 * row, 4 * row);
      const auto a0 = hn::BitCast(pairs, hn::InterleaveLower(kFloats, r0, r1));
      const auto a1 = hn::BitCast(pairs, hn::InterleaveUpper(kFloats, r0, r1));
      const auto c0 = hn::BitCast(pairs, hn::InterleaveLower(kFloats, r2, r3));
      const auto c1 = hn::BitCast(pairs, hn::InterleaveUpper(kFloats, r2, r3));
      float* out = to + d * kPanelKeys + j;
      const auto store = [&](auto both, Index i) {
        hn::StoreU(hn::BitCast(kFloats, both), kFloats, out + i * kPanelKeys);
      };
      store(hn::InterleaveLower(pairs, a0, c0), 0);
      store(hn::InterleaveUpper(pairs, a0, c0), 1);
      store(hn::InterleaveLower(pairs, a1, c1), 2);
      store(hn::InterleaveUpper(pairs, a1, c1), 3);
    }
  }
  for (; d < D; ++d) {
    for (Index j = 0; j < count; ++j) to[d * kPanelKeys + first + j] = from[j * row + d];
  }
}

}  // namespace grouphead::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
