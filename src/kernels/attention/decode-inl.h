// Decode: the few rows of new tokens against one chunk of a long cache, and the merge of chunks.
// Included once per target.

#if defined(GROUPHEAD_KERNELS_ATTENTION_DECODE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef GROUPHEAD_KERNELS_ATTENTION_DECODE_INL_H_
#undef GROUPHEAD_KERNELS_ATTENTION_DECODE_INL_H_
#else
#define GROUPHEAD_KERNELS_ATTENTION_DECODE_INL_H_
#endif

#include <cmath>

#include "kernels/attention/forward-inl.h"

HWY_BEFORE_NAMESPACE();
namespace grouphead::kernels::HWY_NAMESPACE {

// Rows that share one pass over the keys. The pass is bound by memory: 8 multiply-adds per vector
// of keys take 4 cycles, reading it some 14.
constexpr Index kDecodeRows = 8;
// Keys of one step over the values: short, so that the second pair of rows finds them in L1 and the
// hardware prefetcher keeps streaming. 2 rows x 8 vectors are 16 sums.
constexpr Index kValueKeys = 8;
constexpr int kValueVectors = kLanes == 16 ? 8 : 4;

// Elements that are asked for before they are read: some lines of memory more than the hardware
// prefetcher asks for, where that helps. Elsewhere 0, a line that is about to be read anyway.
static Index read_ahead() noexcept { return prefetch_helps() ? 1024 : 0; }

static HWY_INLINE void prefetch(const float* from, Index elements) {
  for (Index i = 0; i < elements; i += 16) __builtin_prefetch(from + i, 0, 2);
}

// logits[i][.] = q_i k_j for the keys of one chunk, whole panels, in address order.
template <int M>
static HWY_NOINLINE void decode_logits(const float* q, Index q_row, const float* panels, Index D,
                                       Index keys, float* HWY_RESTRICT logits) {
  constexpr int kVectors = static_cast<int>(kPanelKeys / kLanes);
  constexpr int kStep = M * kVectors > 8 ? 1 : kVectors;  // vectors at once
  constexpr Index kDims = 16;                             // between two calls of prefetch()
  const Index ahead = read_ahead();
  for (Index j = 0; j < keys; j += kStep * kLanes) {
    Tile<M, kStep> tile;
    tile.clear();
    const float* const panel = panel_at(panels, j, D);
    for (Index d = 0; d < D; d += kDims) {
      const Index dims = min(kDims, D - d);
      const float* const from = panel + d * kPanelKeys;
      if (j % kPanelKeys == 0) prefetch(from + ahead, dims * kPanelKeys);
      tile.run(q + d, q_row, 1, from, InRow(), kPanelKeys, dims);
    }
    HWY_UNROLL(16)
    for (int i = 0; i < M; ++i) {
      HWY_UNROLL(16)
      for (int n = 0; n < kStep; ++n) {
        hn::StoreU(tile.sums[i][n], kFloats, logits + i * kDecodeKeys + j + n * kLanes);
      }
    }
  }
}

// Takes `count` keys off a row of logits.
static HWY_INLINE void hide(float* logits, Index count) {
  for (Index i = 0; i < count; ++i) logits[i] = kMasked;
}

// Weights of one row in place, keys from `limit` on are none; maximum and sum to `partial`.
static HWY_INLINE void decode_softmax(float* HWY_RESTRICT x, Index limit, float* partial,
                                      Index width) {
  HWY_ALIGN float weights[16] = {};
  const Index vectors = ceil_div(limit, kLanes);
  if (limit % kLanes != 0) {
    float* last = x + (vectors - 1) * kLanes;
    const auto seen = hn::FirstN(kFloats, static_cast<std::size_t>(limit % kLanes));
    hn::StoreU(hn::IfThenElse(seen, hn::LoadU(kFloats, last), hn::Set(kFloats, kMasked)), kFloats,
               last);
  }
  Vector top = hn::Set(kFloats, kMasked);
  for (Index c = 0; c < vectors; ++c) top = hn::Max(top, hn::LoadU(kFloats, x + c * kLanes));
  partial[width] = hn::GetLane(hn::MaxOfLanes(kFloats, top));
  softmax_row(x, vectors, partial[width] == kMasked ? 0.0F : partial[width], 0.0F, weights);
  partial[width + 1] = hn::GetLane(hn::SumOfLanes(kFloats, hn::LoadU(kFloats, weights)));
}

// out[i][.] += weights[i][j] values[j][.] over `keys` keys, two rows at a time.
static HWY_INLINE void decode_values(const float* weights, const float* values, Index width,
                                     Index keys, Index rows, float* out, Index out_row) {
  constexpr Index kWide = kValueVectors * kLanes;
  const Index ahead = read_ahead();
  for (Index j = 0; j < keys; j += kValueKeys) {
    const Index count = min(kValueKeys, keys - j);
    prefetch(values + j * width + ahead, count * width);
    for (Index x = 0; x < width; x += width - x >= kWide ? kWide : kLanes) {
      const float* v = values + j * width + x;
      for (Index i = 0; i < rows; i += 2) {
        const float* w = weights + i * kDecodeKeys + j;
        float* o = out + i * out_row + x;
        const bool wide = width - x >= kWide;
        if (wide && i + 2 <= rows) {
          product<2, kValueVectors>(w, kDecodeKeys, 1, v, width, count, kKeep, o, out_row);
        } else if (wide) {
          product<1, kValueVectors>(w, kDecodeKeys, 1, v, width, count, kKeep, o, out_row);
        } else if (i + 2 <= rows) {
          product<2, 1>(w, kDecodeKeys, 1, v, width, count, kKeep, o, out_row);
        } else {
          product<1, 1>(w, kDecodeKeys, 1, v, width, count, kKeep, o, out_row);
        }
      }
    }
  }
}

// Memory of a decode unit.
struct DecodeScratch {
  DecodeScratch(const AttentionProblem<float>& p, float* memory)
      : DecodeScratch(p, ScratchCarver<float>(memory)) {}

  Index q_row, padded;
  // [padded][q_row], times scale and log2 e: whole groups of rows, the last repeated, and one group
  // more with a window, where rows that start anywhere are read in eights.
  float* q;
  float* logits;  // [kDecodeRows][kDecodeKeys]
  Index used;

 private:
  DecodeScratch(const AttentionProblem<float>& p, ScratchCarver<float> memory)
      : q_row(round_up(p.D, kPanelKeys)),
        padded(round_up(p.rows(), kDecodeRows) + (p.has_left_window() ? kDecodeRows : 0)),
        q(memory.take(padded * q_row)),
        logits(memory.take(kDecodeRows * kDecodeKeys)),
        used(memory.used()) {}
};

static Index decode_scratch(const AttentionProblem<float>& p) noexcept {
  return DecodeScratch(p, nullptr).used;
}

// Up to kDecodeRows rows against the first limits[rows - 1] keys of a chunk, of which none sees the
// first `hidden`.
static void decode_rows(const float* q, Index q_row, const float* panels, const float* values,
                        Index D, Index width, Index hidden, const Index* limits, Index rows,
                        float* logits, float* partial, Index partial_row) {
  const Index any = limits[rows - 1];
  if (rows > 4) {
    decode_logits<8>(q, q_row, panels, D, any, logits);
  } else if (rows > 2) {
    decode_logits<4>(q, q_row, panels, D, any, logits);
  } else if (rows > 1) {
    decode_logits<2>(q, q_row, panels, D, any, logits);
  } else {
    decode_logits<1>(q, q_row, panels, D, any, logits);
  }
  for (Index i = 0; i < rows; ++i) {
    prefetch(values + i * read_ahead(), read_ahead());
    hide(logits + i * kDecodeKeys, hidden);
    decode_softmax(logits + i * kDecodeKeys, limits[i], partial + i * partial_row, width);
    fill(partial + i * partial_row, width, 0.0F);
  }
  decode_values(logits + hidden, values + hidden * width, width, max(0, limits[0] - hidden), rows,
                partial, partial_row);
  ragged_product(width, logits, kDecodeKeys, values, width, limits[0], limits, rows, partial,
                 partial_row);
}

static void decode_unit(const AttentionProblem<float>& p, Index unit, float* partial,
                        float* scratch) noexcept {
  const DecodeScratch w(p, scratch);
  const Index chunks = decode_chunks(p);
  const Index bn = unit / chunks;
  const Index first = unit % chunks * kDecodeKeys;
  const Index width = round_up(p.Dv, kPanelKeys);
  const Index partial_row = width + kPanelKeys;
  for (Index r = 0; r < w.padded; ++r) {
    const Index row = min(r, p.rows() - 1);
    copy_row(p.row(p.q, bn / p.Hkv, bn % p.Hkv, row), p.D, p.D, p.scale * kLog2E,
             w.q + r * w.q_row);
  }
  for (Index r = 0, rows = 0; r < p.rows(); r += rows) {
    rows = min(kDecodeRows, p.rows() - r);
    // With a window, the rows of one position alone: they begin at the same key.
    if (p.has_left_window()) rows = min(rows, p.group() - r % p.group());
    const Index from = first + max(0, min(kDecodeKeys, p.begin(r) - first));
    const Index begin = from / kPanelKeys * kPanelKeys;
    Index limits[kDecodeRows];
    for (Index i = 0; i < rows; ++i) {
      limits[i] = max(0, min(first + kDecodeKeys, p.limit(r + i)) - begin);
    }
    decode_rows(w.q + r * w.q_row, w.q_row, p.packed_keys(bn) + begin * p.D,
                p.packed_values(bn) + begin * width, p.D, width, min(from - begin, limits[0]),
                limits, rows, w.logits, partial + r * partial_row, partial_row);
  }
}

// O = sum_c 2^(m_c - m) O_c / sum_c 2^(m_c - m) l_c over ascending chunks c.
static void decode_merge(const AttentionProblem<float>& p, Index bn,
                         const float* partials) noexcept {
  const Index chunks = decode_chunks(p);
  const Index width = round_up(p.Dv, kPanelKeys);
  const Index stride = width + kPanelKeys;
  for (Index r = 0; r < p.rows(); ++r) {
    const float* part = partials + (bn * chunks * p.rows() + r) * stride;
    const Index next = p.rows() * stride;
    float top = kMasked;
    for (Index c = 0; c < chunks; ++c)
      top = part[c * next + width] > top ? part[c * next + width] : top;
    if (top == kMasked) top = 0.0F;  // nothing is seen
    float sum = 0.0F;
    float* out = p.row(p.out, bn / p.Hkv, bn % p.Hkv, r);
    for (Index d = 0; d < p.Dv; ++d) out[d] = 0.0F;
    for (Index c = 0; c < chunks; ++c) {
      const float weight = exp2f(part[c * next + width] - top);
      sum += weight * part[c * next + width + 1];
      Index d = 0;
      for (; d + kLanes <= p.Dv; d += kLanes) {
        const Vector more = hn::LoadU(kFloats, part + c * next + d);
        hn::StoreU(hn::MulAdd(hn::Set(kFloats, weight), more, hn::LoadU(kFloats, out + d)), kFloats,
                   out + d);
      }
      for (; d < p.Dv; ++d) out[d] += weight * part[c * next + d];
    }
    finish_row(p, bn, r, out, top, sum, out);
  }
}

}  // namespace grouphead::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
