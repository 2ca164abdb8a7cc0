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
// Keys of one step over the values: short, so that the second pair of rows finds them in L1 and
// memory is asked for evenly (8 keys: 5 % slower). 2 rows x 8 vectors are 16 sums.
constexpr Index kValueKeys = 4;
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

// Whether logits must be looked at one by one; causality, windows and sinks need no look.
static HWY_INLINE bool has_decode_options(const AttentionProblem<float>& p) {
  return p.num_masks > 0 || changes_products(p) || p.fully_masked.data != nullptr ||
         p.dropout.active;
}

// A row's logits for `keys` keys from `first` on, from their products; what it does not see is
// masked.
static HWY_NOINLINE void decode_options(const AttentionProblem<float>& p, Index bn,
                                        const RowPlace& row, Index first, Index keys,
                                        const StripMemory<1>& memory, float* HWY_RESTRICT logits) {
  for (Index s = 0; s < keys; s += kMostTileKeys) {
    const Index count = min(kMostTileKeys, keys - s);
    float* x = logits + s;
    Visibility<1> visibility;
    look(p, bn / p.Hkv, &row, first + s, count, memory, visibility);
    if (visibility.num_segments > 0) {
      mask_row(visibility, RowLogits(p, bn / p.Hkv, row, first + s, visibility, 0, memory), x);
    }
    Index done = 0;
    for (Index n = 0; n < visibility.num_segments; ++n) {
      hide(x + done, max(0, visibility.segments[n].begin - done));
      done = round_up(visibility.segments[n].end, kLanes);
    }
    hide(x + done, max(0, count - done));
  }
}

// Drops a row's weights, which were summed, of `keys` keys from `first` on.
static HWY_NOINLINE void decode_dropout(const AttentionProblem<float>& p, Index bn,
                                        const RowPlace& row, Index first, Index keys,
                                        const StripMemory<1>& memory, float* HWY_RESTRICT weights) {
  for (Index s = 0; s < keys; s += kMostTileKeys) {
    const Index count = min(kMostTileKeys, keys - s);
    const float* kept = kept_of(p, bn / p.Hkv, row, first + s, count, memory.kept);
    for (Index i = 0; i < count; ++i) weights[s + i] *= kept[i];
  }
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
static HWY_NOINLINE void decode_values(const float* weights, const float* values, Index width,
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

// Rows that step_logits() takes for `rows`, up to kDecodeRows: a power of two.
static HWY_INLINE Index rows_of_step(Index rows) { return rows > 4 ? 8 : rows > 2 ? 4 : rows; }
// Rows that any step of a unit reads: those that there are and, of steps that begin anywhere, 3
// more (8 for 5).
static HWY_INLINE Index padded_rows(const AttentionProblem<float>& p) {
  if (p.has_left_window()) return p.rows() + 3;
  return p.rows() / kDecodeRows * kDecodeRows + rows_of_step(p.rows() % kDecodeRows);
}

// Memory of a decode unit.
struct DecodeScratch {
  DecodeScratch(const AttentionProblem<float>& p, float* memory)
      : DecodeScratch(p, ScratchCarver<float>(memory)) {}

  Index q_row, width, partial_row, padded;
  float* q;       // [padded][q_row], times scale and log2 e; the last row repeated
  float* logits;  // [kDecodeRows][kDecodeKeys]
  StripMemory<1> strip;
  Index used;

 private:
  DecodeScratch(const AttentionProblem<float>& p, ScratchCarver<float> memory)
      : q_row(round_up(p.D, kPanelKeys)),
        width(round_up(p.Dv, kPanelKeys)),
        partial_row(width + kPanelKeys),
        padded(padded_rows(p)),
        q(memory.take(padded * q_row)),
        logits(memory.take(kDecodeRows * kDecodeKeys)),
        strip(memory),
        used(memory.used()) {}
};

static Index decode_scratch(const AttentionProblem<float>& p) noexcept {
  return DecodeScratch(p, nullptr).used;
}

// Up to kDecodeRows rows against a part of a chunk, which begins at a panel.
struct DecodeStep {
  Index bn, row = 0, rows;
  Index begin;                // the first key of the part
  Index hidden;               // keys of it that none of the rows sees
  Index limits[kDecodeRows];  // keys of it up to the last that each row sees, ascending
  RowPlace places[kDecodeRows];
};

static HWY_INLINE void step_logits(const AttentionProblem<float>& p, const DecodeScratch& w,
                                   const DecodeStep& step) {
  const float* q = w.q + step.row * w.q_row;
  const Index rows = rows_of_step(step.rows);
  const auto logits_of = rows == 8   ? decode_logits<8>
                         : rows == 4 ? decode_logits<4>
                         : rows == 2 ? decode_logits<2>
                                     : decode_logits<1>;
  p.packed.table.for_runs(step.begin, step.begin + step.limits[step.rows - 1],
                          [&](Index s, Index place, Index count) {
                            logits_of(q, w.q_row, p.packed_keys(step.bn) + place * p.D, p.D, count,
                                      w.logits + s - step.begin);
                          });
}

static HWY_NOINLINE void step_values(const AttentionProblem<float>& p, const DecodeScratch& w,
                                     const DecodeStep& step, float* partial) {
  const float* values = p.packed_values(step.bn);
  const TileTable& table = p.packed.table;
  const Index all = step.begin + step.limits[0];
  table.for_runs(step.begin + step.hidden, all, [&](Index s, Index place, Index count) {
    decode_values(w.logits + s - step.begin, values + place * w.width, w.width, count, step.rows,
                  partial, w.partial_row);
  });
  if (step.limits[0] == step.limits[step.rows - 1]) return;
  for (Index i = 0; i < step.rows; ++i) {
    table.for_runs(all, step.begin + step.limits[i], [&](Index s, Index place, Index count) {
      row_product(w.width, w.logits + i * kDecodeKeys + s - step.begin, values + place * w.width,
                  w.width, 0, count, partial + i * w.partial_row);
    });
  }
}

static void decode_step(const AttentionProblem<float>& p, const DecodeScratch& w,
                        const DecodeStep& step, float* partial) {
  step_logits(p, w, step);
  const bool has_options = has_decode_options(p);
  const bool sees_any = step.limits[step.rows - 1] > 0;
  const bool is_long = step.limits[step.rows - 1] > kMostTileKeys;
  const float* values = p.packed_values(step.bn) +
                        (sees_any ? p.packed.table.position(step.begin) : Index{0}) * w.width;
  for (Index i = 0; i < step.rows; ++i) {
    float* logits = w.logits + i * kDecodeKeys;
    const RowPlace& place = step.places[i];
    if (is_long) prefetch(values + i * read_ahead(), read_ahead());
    hide(logits, step.hidden);
    if (has_options) {
      decode_options(p, step.bn, place, step.begin, step.limits[i], w.strip, logits);
    }
    decode_softmax(logits, step.limits[i], partial + i * w.partial_row, w.width);
    if (p.dropout.active) {
      decode_dropout(p, step.bn, place, step.begin, step.limits[i], w.strip, logits);
    }
    fill(partial + i * w.partial_row, w.width, 0.0F);
  }
  step_values(p, w, step, partial);
}

static void decode_unit(const AttentionProblem<float>& p, Index unit, float* partial,
                        float* scratch) noexcept {
  const FlushToZero flush;
  const DecodeScratch w(p, scratch);
  const Index chunks = decode_chunks(p);
  const Index first = unit % chunks * kDecodeKeys;
  DecodeStep step;
  step.bn = unit / chunks;
  RowCursor<const float> row(p, p.q, step.bn, 0);
  for (Index r = 0; r < w.padded; ++r) {
    copy_row(row.get(), p.D, p.D, p.scale * kLog2E, w.q + r * w.q_row);
    if (r + 1 < p.rows()) row.next();
  }
  for (; step.row < p.rows(); step.row += step.rows) {
    step.rows = min(kDecodeRows, p.rows() - step.row);
    // With a window, the rows of one position alone: they begin at the same key.
    if (p.has_left_window()) step.rows = min(step.rows, p.group() - step.row % p.group());
    if (p.fully_masked.data != nullptr) step.rows = 1;
    find_places(p, step.bn, step.row, step.rows, step.places);
    const Index from = first + max(0, min(kDecodeKeys, step.places[0].begin - first));
    step.begin = from / kPanelKeys * kPanelKeys;
    for (Index i = 0; i < step.rows; ++i) {
      step.limits[i] = max(0, min(first + kDecodeKeys, step.places[i].limit) - step.begin);
    }
    step.hidden = min(from - step.begin, step.limits[0]);
    decode_step(p, w, step, partial + step.row * w.partial_row);
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
