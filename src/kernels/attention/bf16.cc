#include "kernels/attention/bf16.h"

#include "kernels/cpu/targets.h"

#if HWY_TARGETS & HWY_AVX3
#include "kernels/cpu/intrinsics.h"

#define GROUPHEAD_UNROLL _Pragma("GCC unroll 16")

HWY_PUSH_ATTRIBUTES("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,bmi2")
namespace grouphead::kernels {
namespace {

using U16 = std::uint16_t;
// Sums in registers: 6 rows x 4 vectors, above the 6 chains that the latency needs; per step 24 dot
// products against 4 loads and 6 broadcasts.
constexpr int kRows = 6;
constexpr int kVectors = 4;
constexpr Index kKeys = 256;          // of one softmax step
constexpr Index kRow = kKeys + 32;    // of logits: no power of two
constexpr float kMasked = -0x1p100F;  // finite also when it is scaled
constexpr float kLog2E = 1.44269504088896340736F;

__m512bh load(const U16* at) noexcept { return reinterpret_cast<__m512bh>(_mm512_loadu_si512(at)); }
// Two numbers in every 32-bit lane.
__m512bh pair(const U16* at) noexcept {
  std::int32_t both = 0;
  __builtin_memcpy(&both, at, 4);
  return reinterpret_cast<__m512bh>(_mm512_set1_epi32(both));
}

// 2^x for x <= 0, as the f32 kernels have it: a thousandth of what bf16 rounds, though a shorter
// polynomial around 0 would need as many steps. 2^0 = 1 exactly, NaN stays.
__m512 exp2_neg(__m512 x) noexcept {
  const __m512 f = _mm512_reduce_ps(x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
  __m512 p = _mm512_fmadd_ps(_mm512_set1_ps(0.00186713005F), f, _mm512_set1_ps(0.00901703071F));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0.0557999127F));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0.240164444F));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0.693151295F));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(1.0F));
  return _mm512_scalef_ps(p, x);  // p 2^floor(x)
}

// Keys [S / 16][D / 2][16][2] with dims in pairs, and values [S / 2][width][2] with positions in
// pairs.
Index key_row(const AttentionProblem<float>& p) noexcept { return round_up(p.D, 2); }
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
    const auto seen =
        static_cast<__mmask16>(_bzhi_u32(0xFFFF, static_cast<unsigned>(min(kPanelKeys, p.Dv - d))));
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
      : width(value_row(p)),
        q_row(key_row(p)),
        out(memory),
        weights(out + kForwardRows * width),
        tops(weights + kForwardRows * 16),
        maxima(tops + kForwardRows),
        logits(maxima + kRows * 16),
        probs(reinterpret_cast<U16*>(logits + kRows * kRow)),
        q(probs + kRows * kRow) {}
  static Index size(const AttentionProblem<float>& p) noexcept {
    return kForwardRows * (value_row(p) + 17 + key_row(p) / 2) + kRows * (16 + kRow + kRow / 2);
  }
  Index width, q_row;
  float* out;      // [kForwardRows][width]
  float* weights;  // [kForwardRows][16]: sums of weights
  float* tops;     // [kForwardRows]: maxima of q k, not scaled
  float* maxima;   // [kRows][16]
  float* logits;   // [kRows][kRow]: q k
  U16* probs;      // [kRows][kRow]
  U16* q;          // [kForwardRows][q_row]
};

// logits[i][.] = q_i k_j for N panels of keys from key j on. kSome: masked from limits[i] on.
template <int N, bool kSome>
__attribute__((noinline)) void logit_tile(const Scratch& w, const U16* q, const U16* keys,
                                          const Index* limits, Index j) noexcept {
  __m512 sums[kRows][N];
  GROUPHEAD_UNROLL for (int i = 0; i < kRows; ++i) {
    GROUPHEAD_UNROLL for (int n = 0; n < N; ++n) sums[i][n] = _mm512_setzero_ps();
  }
  const U16* k = keys + j * w.q_row;
  for (Index d = 0; d < w.q_row; d += 2, k += 2 * kPanelKeys) {
    __m512bh x[N];
    GROUPHEAD_UNROLL for (int n = 0; n < N; ++n) x[n] = load(k + n * kPanelKeys * w.q_row);
    GROUPHEAD_UNROLL for (int i = 0; i < kRows; ++i) {
      const __m512bh y = pair(q + i * w.q_row + d);
      GROUPHEAD_UNROLL for (int n = 0; n < N; ++n) {
        sums[i][n] = _mm512_dpbf16_ps(sums[i][n], y, x[n]);
      }
    }
  }
  GROUPHEAD_UNROLL for (int i = 0; i < kRows; ++i) {
    __m512 top = _mm512_loadu_ps(w.maxima + i * 16);
    GROUPHEAD_UNROLL for (int n = 0; n < N; ++n) {
      __m512 x = sums[i][n];
      if constexpr (kSome) {
        const Index seen = max(0, min(kPanelKeys, limits[i] - j - n * kPanelKeys));
        x = _mm512_mask_mov_ps(
            _mm512_set1_ps(kMasked),
            static_cast<__mmask16>(_bzhi_u32(0xFFFF, static_cast<unsigned>(seen))), x);
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

// Probabilities of one row from its logits, relative to `top`; their sum is taken before rounding.
void softmax_row(const Scratch& w, int i, Index any, float scale, float top, float keep,
                 float* weights) noexcept {
  float* x = w.logits + i * kRow;
  U16* probs = w.probs + i * kRow;
  const __m512 factor = _mm512_set1_ps(scale);
  const __m512 shift = _mm512_set1_ps(top * scale);
  __m512 even = _mm512_mul_ps(_mm512_set1_ps(keep), _mm512_loadu_ps(weights));
  __m512 odd = _mm512_setzero_ps();
  if ((any - 1) % 32 < 16) _mm512_storeu_ps(x + round_up(any, 16), _mm512_set1_ps(kMasked));
  for (Index c = 0; c < any; c += 32) {
    const __m512 a = exp2_neg(_mm512_fmsub_ps(_mm512_loadu_ps(x + c), factor, shift));
    const __m512 b = exp2_neg(_mm512_fmsub_ps(_mm512_loadu_ps(x + c + 16), factor, shift));
    even = _mm512_add_ps(even, a);
    odd = _mm512_add_ps(odd, b);
    _mm512_storeu_si512(probs + c, reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(b, a)));
  }
  _mm512_storeu_ps(weights, _mm512_add_ps(even, odd));
}

// out[i][.] = keep[i] out[i][.] + probs[i] values for `keys` keys, an even number.
template <int N>
__attribute__((noinline)) void values_tile(const Scratch& w, const U16* values, Index keys,
                                           const float* keep, float* out) noexcept {
  __m512 sums[kRows][N];
  GROUPHEAD_UNROLL for (int i = 0; i < kRows; ++i) {
    GROUPHEAD_UNROLL for (int n = 0; n < N; ++n) {
      sums[i][n] =
          _mm512_mul_ps(_mm512_set1_ps(keep[i]), _mm512_loadu_ps(out + i * w.width + n * 16));
    }
  }
  const U16* probs = w.probs;
  for (Index s = 0; s < keys; s += 2, values += 2 * w.width, probs += 2) {
    __m512bh x[N];
    GROUPHEAD_UNROLL for (int n = 0; n < N; ++n) x[n] = load(values + n * 32);
    GROUPHEAD_UNROLL for (int i = 0; i < kRows; ++i) {
      const __m512bh y = pair(probs + i * kRow);
      GROUPHEAD_UNROLL for (int n = 0; n < N; ++n) {
        sums[i][n] = _mm512_dpbf16_ps(sums[i][n], y, x[n]);
      }
    }
  }
  GROUPHEAD_UNROLL for (int i = 0; i < kRows; ++i) {
    GROUPHEAD_UNROLL for (int n = 0; n < N; ++n) {
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
  alignas(64) float keep[16] = {};
  for (int i = 0; i < kRows; ++i) {
    float& top = w.tops[row + i];
    const float here = _mm512_reduce_max_ps(_mm512_loadu_ps(w.maxima + i * 16));
    const float now = here > top ? here : top;
    keep[i] = (top - now) * scale;
    top = now;
  }
  _mm512_store_ps(keep, exp2_neg(_mm512_max_ps(_mm512_set1_ps(-200.0F), _mm512_load_ps(keep))));
  for (int i = 0; i < kRows; ++i) {
    const float top = w.tops[row + i];
    // A row that has seen nothing yet keeps weights of zero.
    softmax_row(w, i, any, scale, top == kMasked ? 0.0F : top, keep[i], w.weights + (row + i) * 16);
  }
  float* out = w.out + row * w.width;
  Index x = 0;
  for (; x + kVectors * 16 <= w.width; x += kVectors * 16) {
    values_tile<kVectors>(w, values + 2 * x, all, keep, out + x);
  }
  for (; x < w.width; x += 16) values_tile<1>(w, values + 2 * x, all, keep, out + x);
  for (int i = 0; i < kRows; ++i) row_values(w, i, values, all, limits[i], out + i * w.width);
}

float finish_row(const Scratch& w, const AttentionProblem<float>& p, Index r, U16* out) noexcept {
  const float sum = _mm512_reduce_add_ps(_mm512_loadu_ps(w.weights + r * 16));
  const __m512 share = _mm512_set1_ps(sum == 0.0F ? 0.0F : 1.0F / sum);
  for (Index d = 0; d < p.Dv; d += 16) {
    const auto used =
        static_cast<__mmask16>(_bzhi_u32(0xFFFF, static_cast<unsigned>(min(16, p.Dv - d))));
    const __m512 x = _mm512_mul_ps(share, _mm512_loadu_ps(w.out + r * w.width + d));
    _mm256_mask_storeu_epi16(out + d, used, reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(x)));
  }
  return sum;
}

// The order of units, blocks and rows is that of the f32 forward.
void forward(const AttentionProblem<float>& p, const Bf16Operands& o, Index unit,
             float* scratch) noexcept {
  const Scratch w(p, scratch);
  const Index blocks = ceil_div(p.rows(), kForwardRows);
  const Index bn = unit / blocks;
  const Index b = bn / p.Hkv;
  const Index n = bn % p.Hkv;
  const Index first = (blocks - 1 - unit % blocks) * kForwardRows;
  const Index rows = min(kForwardRows, p.rows() - first);
  const Index padded = round_up(rows, kRows);
  Index limits[kForwardRows];
  for (Index r = 0; r < padded; ++r) {
    const Index row = min(first + r, p.rows() - 1);
    const U16* q = p.row(o.q, b, n, row);
    for (Index d = 0; d < w.q_row; ++d) w.q[r * w.q_row + d] = d < p.D ? q[d] : U16{0};
    w.tops[r] = kMasked;
    limits[r] = p.limit(row);
  }
  for (Index i = 0; i < padded * w.width; ++i) w.out[i] = 0;
  for (Index i = 0; i < padded * 16; ++i) w.weights[i] = 0;
  for (Index s = 0; s < limits[padded - 1]; s += kKeys) {
    for (Index strip = 0; strip < padded / kRows; ++strip) {
      Index seen[kRows];
      for (int i = 0; i < kRows; ++i) {
        seen[i] = max(0, min(kKeys, limits[strip * kRows + i] - s));
      }
      if (seen[kRows - 1] == 0) continue;
      attend_strip(w, p, strip, seen, o.packed_keys(bn) + s * w.q_row,
                   o.packed_values(bn) + s * w.width);
    }
  }
  for (Index r = 0; r < rows; ++r) {
    const float sum = finish_row(w, p, r, p.row(o.out, b, n, first + r));
    p.note_softmax(bn, first + r, w.tops[r] * (p.scale * kLog2E), sum);
  }
}

}  // namespace
}  // namespace grouphead::kernels
HWY_POP_ATTRIBUTES
#endif

namespace grouphead::kernels {

const Bf16Kernels* bf16_kernels([[maybe_unused]] Level level) noexcept {
#if HWY_TARGETS & HWY_AVX3
  static constexpr Bf16Kernels kTable = {false, key_row, value_row, pack, Scratch::size, forward};
  if (level == Level::avx3_bf16) return &kTable;
  if (level == Level::avx3_amx && level_available(level)) return amx_kernels();
#endif
  return nullptr;
}

}  // namespace grouphead::kernels
