// The forward on bf16 values by vdpbf16ps: 32 multiply-adds of bf16 with sums in f32.

#include "kernels/attention/bf16.h"

#include "kernels/cpu/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/attention/bf16.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#if HWY_TARGET == HWY_AVX3
#include "kernels/attention/bf16-inl.h"
#include "kernels/cpu/scratch.h"

HWY_PUSH_ATTRIBUTES(HWY_TARGET_STR ",avx512bf16,bmi2")
namespace grouphead::kernels::HWY_NAMESPACE {
namespace {

// Sums in registers: 6 rows x 4 vectors, above the 6 chains that the latency needs; per step 24 dot
// products against 4 loads and 6 broadcasts.
constexpr int kRows = 6;
constexpr int kVectors = 4;
constexpr Index kKeys = 256;        // of one softmax step
constexpr Index kRow = kKeys + 32;  // of logits: no power of two

__m512bh load(const U16* at) noexcept { return reinterpret_cast<__m512bh>(_mm512_loadu_si512(at)); }
// Two values in every 32-bit lane.
__m512bh pair(const U16* at) noexcept {
  std::int32_t both = 0;
  __builtin_memcpy(&both, at, 4);
  return reinterpret_cast<__m512bh>(_mm512_set1_epi32(both));
}

// Keys [S / 16][D / 2][16][2] with dims in pairs, and values [S / 2][width][2] with positions in
// pairs.
Index key_row_of(const AttentionProblem<float>& p) noexcept { return round_up(p.D, 2); }
Index value_row(const AttentionProblem<float>& p) noexcept { return round_up(p.Dv, kPanelKeys); }

void pack_keys(const AttentionProblem<float>& p, const Bf16Operands& o, Index b, Index n,
               Index begin, Index end) noexcept {
  for (Index s = begin; s < end; ++s) {
    const U16* k = o.k.data + b * o.k.batch + s * o.k.time + n * o.k.head;
    U16* to =
        o.packed_keys(b * p.Hkv + n) + s / kPanelKeys * kPanelKeys * o.key_row + s % kPanelKeys * 2;
    for (Index d = 0; d + 2 <= p.D; d += 2) __builtin_memcpy(to + d * kPanelKeys, k + d, 4);
    if (p.D % 2 == 0) continue;
    to[(p.D - 1) * kPanelKeys] = k[p.D - 1];
    to[(p.D - 1) * kPanelKeys + 1] = 0;
  }
}

void pack_values(const AttentionProblem<float>& p, const Bf16Operands& o, Index b, Index n,
                 Index begin, Index end) noexcept {
  const auto row = [&](Index s, Index d) {
    if (s >= end) return _mm512_setzero_si512();
    const auto seen = static_cast<__mmask16>(first_bits(p.Dv - d));
    const U16* v = o.v.data + b * o.v.batch + s * o.v.time + n * o.v.head + d;
    return _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(seen, v));
  };
  for (Index s = begin; s < end; s += 2) {
    U16* to = o.packed_values(b * p.Hkv + n) + s * o.value_row;
    for (Index d = 0; d < o.value_row; d += kPanelKeys) {
      const __m512i second = _mm512_slli_epi32(row(s + 1, d), 16);
      _mm512_storeu_si512(to + 2 * d, _mm512_or_si512(row(s, d), second));
    }
  }
}

void pack(const AttentionProblem<float>& p, const Bf16Operands& o, Index unit) noexcept {
  const Index b = unit / pack_tiles(p, Index{0});
  const Index begin = unit % pack_tiles(p, Index{0}) * kPackKeys;
  const Index end = min(p.S, begin + kPackKeys);
  for (Index n = 0; n < p.Hkv; ++n) {
    pack_keys(p, o, b, n, begin, end);
    pack_values(p, o, b, n, begin, end);
  }
}

// Memory of a forward unit.
struct Scratch {
  Scratch(const AttentionProblem<float>& p, float* memory) noexcept
      : Scratch(p, ScratchCarver<float>(memory)) {}
  static Index size(const AttentionProblem<float>& p) noexcept { return Scratch(p, nullptr).used; }

  Index width, key_row;
  Index q_row;     // of queries: whole registers
  float* out;      // [kForwardRows][width]
  float* weights;  // [kForwardRows][16]: sums of weights
  float* tops;     // [kForwardRows]: the maximum that the weights are relative to, in base 2
  float* maxima;   // [kRows][16]
  float* logits;   // [kRows][kRow]: q k
  U16* probs;      // [kRows][kRow]
  U16* q;          // [kForwardRows][q_row]
  Index used;

 private:
  Scratch(const AttentionProblem<float>& p, ScratchCarver<float> memory) noexcept
      : width(value_row(p)),
        key_row(key_row_of(p)),
        q_row(round_up(p.D, kBf16Lanes)),
        out(memory.take(kForwardRows * width)),
        weights(memory.take(kForwardRows * 16)),
        tops(memory.take(kForwardRows)),
        maxima(memory.take(kRows * 16)),
        logits(memory.take(kRows * kRow)),
        probs(memory.take<U16>(kRows * kRow)),
        q(memory.take<U16>(kForwardRows * q_row)),
        used(memory.used()) {}
};

// logits[i][.] = q_i k_j for N panels of keys from key j on. kSome: masked from limits[i] on.
template <int N, bool kSome>
HWY_NOINLINE void logit_tile(const Scratch& w, const U16* q, const U16* keys, const Index* limits,
                             Index j) noexcept {
  __m512 sums[kRows][N];
  HWY_UNROLL(16)
  for (int i = 0; i < kRows; ++i) {
    HWY_UNROLL(16)
    for (int n = 0; n < N; ++n) sums[i][n] = _mm512_setzero_ps();
  }
  const U16* k = keys + j * w.key_row;
  for (Index d = 0; d < w.key_row; d += 2, k += 2 * kPanelKeys) {
    __m512bh x[N];
    HWY_UNROLL(16)
    for (int n = 0; n < N; ++n) x[n] = load(k + n * kPanelKeys * w.key_row);
    HWY_UNROLL(16)
    for (int i = 0; i < kRows; ++i) {
      const __m512bh y = pair(q + i * w.q_row + d);
      HWY_UNROLL(16)
      for (int n = 0; n < N; ++n) {
        sums[i][n] = _mm512_dpbf16_ps(sums[i][n], y, x[n]);
      }
    }
  }
  HWY_UNROLL(16)
  for (int i = 0; i < kRows; ++i) {
    __m512 top = _mm512_loadu_ps(w.maxima + i * 16);
    HWY_UNROLL(16)
    for (int n = 0; n < N; ++n) {
      __m512 x = sums[i][n];
      if constexpr (kSome) {
        const Index seen = max(0, min(kPanelKeys, limits[i] - j - n * kPanelKeys));
        x = _mm512_mask_mov_ps(_mm512_set1_ps(kMasked), static_cast<__mmask16>(first_bits(seen)),
                               x);
      }
      top = _mm512_max_ps(top, x);
      _mm512_storeu_ps(w.logits + i * kRow + j + n * kPanelKeys, x);
    }
    _mm512_storeu_ps(w.maxima + i * 16, top);
  }
}

void logit_strip(const Scratch& w, const U16* q, const U16* keys, const Index* limits,
                 Index any) noexcept {
  for (int i = 0; i < kRows; ++i) _mm512_storeu_ps(w.maxima + i * 16, _mm512_set1_ps(kMasked));
  constexpr Index kStep = kVectors * kPanelKeys;
  Index j = 0;
  for (; j + kStep <= limits[0]; j += kStep) logit_tile<kVectors, false>(w, q, keys, limits, j);
  for (; j + 3 * kPanelKeys < any; j += kStep) logit_tile<kVectors, true>(w, q, keys, limits, j);
  if (j + 2 * kPanelKeys < any) return logit_tile<3, true>(w, q, keys, limits, j);
  if (j + kPanelKeys < any) return logit_tile<2, true>(w, q, keys, limits, j);
  if (j < any) logit_tile<1, true>(w, q, keys, limits, j);
}

// Probabilities of row i of a strip from its logits, relative to `top`.
void softmax_row(const Scratch& w, int i, Index any, float scale, float top, float keep,
                 float* weights) noexcept {
  float* x = w.logits + i * kRow;
  copy_row(weights, kLanes, kLanes, keep, weights);
  Bf16Softmax softmax(scale, top, weights);
  if ((any - 1) % 32 < 16) fill(x + round_up(any, 16), kLanes, kMasked);
  for (Index c = 0; c < any; c += 2 * kLanes) {
    Vector first, second;
    softmax(x + c, first, second);
    store_narrow(first, second, w.probs + i * kRow + c);
  }
  softmax.store(weights);
}

// out[i][.] = keep[i] out[i][.] + probs[i] values for `keys` keys, an even number.
template <int N>
HWY_NOINLINE void values_tile(const Scratch& w, const U16* values, Index keys, const float* keep,
                              float* out) noexcept {
  __m512 sums[kRows][N];
  HWY_UNROLL(16)
  for (int i = 0; i < kRows; ++i) {
    HWY_UNROLL(16)
    for (int n = 0; n < N; ++n) {
      sums[i][n] =
          _mm512_mul_ps(_mm512_set1_ps(keep[i]), _mm512_loadu_ps(out + i * w.width + n * 16));
    }
  }
  const U16* probs = w.probs;
  for (Index s = 0; s < keys; s += 2, values += 2 * w.width, probs += 2) {
    __m512bh x[N];
    HWY_UNROLL(16)
    for (int n = 0; n < N; ++n) x[n] = load(values + n * 32);
    HWY_UNROLL(16)
    for (int i = 0; i < kRows; ++i) {
      const __m512bh y = pair(probs + i * kRow);
      HWY_UNROLL(16)
      for (int n = 0; n < N; ++n) {
        sums[i][n] = _mm512_dpbf16_ps(sums[i][n], y, x[n]);
      }
    }
  }
  HWY_UNROLL(16)
  for (int i = 0; i < kRows; ++i) {
    HWY_UNROLL(16)
    for (int n = 0; n < N; ++n) {
      _mm512_storeu_ps(out + i * w.width + n * 16, sums[i][n]);
    }
  }
}

// The keys [begin, end) that one row sees and not all of its strip do. The same pairs as in
// values_tile(), so its bits do not depend on the others; a second key that it must not see counts
// as 0, not as 0 times what may be NaN.
void row_values(const Scratch& w, int i, const U16* values, Index begin, Index end,
                float* out) noexcept {
  const __m512i first = _mm512_set1_epi32(0xFFFF);
  for (Index s = begin; s < end; s += 2) {
    const __m512bh y = pair(w.probs + i * kRow + s);
    for (Index x = 0; x < w.width; x += 16) {
      __m512i v = _mm512_loadu_si512(values + s * w.width + 2 * x);
      if (s + 1 == end) v = _mm512_and_si512(v, first);
      const __m512 sum = _mm512_loadu_ps(out + x);
      _mm512_storeu_ps(out + x, _mm512_dpbf16_ps(sum, y, reinterpret_cast<__m512bh>(v)));
    }
  }
}

// One strip of rows against one tile of keys, of which row i sees the first limits[i].
void attend_strip(const Scratch& w, const AttentionProblem<float>& p, Index strip,
                  const Index* limits, const U16* keys, const U16* values) noexcept {
  const Index row = strip * kRows;
  const Index any = limits[kRows - 1];
  const Index all = limits[0] / 2 * 2;
  const float scale = p.scale * kLog2E;
  logit_strip(w, w.q + row * w.q_row, keys, limits, any);
  float here[kRows];
  for (int i = 0; i < kRows; ++i) {
    here[i] = hn::GetLane(hn::MaxOfLanes(kFloats, hn::LoadU(kFloats, w.maxima + i * kLanes)));
    here[i] *= scale;
  }
  HWY_ALIGN float keep[round_up(kRows, 16)];
  raise_tops<kRows>(here, w.tops + row, keep);
  for (int i = 0; i < kRows; ++i) {
    softmax_row(w, i, any, scale, w.tops[row + i], keep[i], w.weights + (row + i) * kLanes);
  }
  float* out = w.out + row * w.width;
  Index x = 0;
  for (; x + kVectors * 16 <= w.width; x += kVectors * 16) {
    values_tile<kVectors>(w, values + 2 * x, all, keep, out + x);
  }
  for (; x < w.width; x += 16) values_tile<1>(w, values + 2 * x, all, keep, out + x);
  for (int i = 0; i < kRows; ++i) row_values(w, i, values, all, limits[i], out + i * w.width);
}

// The order of units, blocks and rows is that of the f32 forward.
void forward(const AttentionProblem<float>& p, const Bf16Operands& o, Index unit,
             float* scratch) noexcept {
  const Scratch w(p, scratch);
  const Index blocks = ceil_div(p.rows(), kForwardRows);
  const Index bn = unit / blocks;
  const Index first = (blocks - 1 - unit % blocks) * kForwardRows;
  const Index rows = min(kForwardRows, p.rows() - first);
  const Index padded = round_up(rows, kRows);
  load_bf16_queries(p, o, bn, first, padded, w.q, w.q_row);
  Index limits[kForwardRows];
  for (Index r = 0; r < padded; ++r) {
    w.tops[r] = kMasked;
    limits[r] = p.limit(min(first + r, p.rows() - 1));
  }
  fill(w.out, padded * w.width, 0.0F);
  fill(w.weights, padded * kLanes, 0.0F);
  for (Index s = 0; s < limits[padded - 1]; s += kKeys) {
    for (Index strip = 0; strip < padded / kRows; ++strip) {
      Index seen[kRows];
      for (int i = 0; i < kRows; ++i) {
        seen[i] = max(0, min(kKeys, limits[strip * kRows + i] - s));
      }
      if (seen[kRows - 1] == 0) continue;
      attend_strip(w, p, strip, seen, o.packed_keys(bn) + s * w.key_row,
                   o.packed_values(bn) + s * w.width);
    }
  }
  RowCursor<U16> out(p, o.out, bn, first);
  for (Index r = 0; r < rows; ++r, out.next()) {
    const float sum = finish_bf16_row(w.weights + r * kLanes, w.out + r * w.width, p.Dv, out.get());
    p.note_softmax(bn, first + r, w.tops[r], sum);
  }
}

}  // namespace

const Bf16Kernels& bf16_table() noexcept {
  static constexpr Bf16Kernels kTable = {false, key_row_of,    value_row,
                                         pack,  Scratch::size, forward};
  return kTable;
}

}  // namespace grouphead::kernels::HWY_NAMESPACE
HWY_POP_ATTRIBUTES
#endif

#if HWY_ONCE
namespace grouphead::kernels {

const Bf16Kernels* bf16_kernels([[maybe_unused]] Level level) noexcept {
#if HWY_TARGETS & HWY_AVX3
  if (level == Level::avx3_bf16) return &N_AVX3::bf16_table();
  if (level == Level::avx3_amx && level_available(level)) return amx_kernels();
#endif
  return nullptr;
}

}  // namespace grouphead::kernels
#endif
