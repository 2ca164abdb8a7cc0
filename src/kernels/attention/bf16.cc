// Attention on bf16 values by vdpbf16ps: 32 multiply-adds of bf16 with sums in f32.

#include "kernels/attention/bf16.h"

#include "kernels/cpu/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/attention/bf16.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#if HWY_TARGET == HWY_AVX3
#include "kernels/attention/bf16_backward-inl.h"
#include "kernels/cpu/scratch.h"
#include "kernels/gemm/vdpbf16-inl.h"

HWY_PUSH_ATTRIBUTES(HWY_TARGET_STR ",avx512bf16,bmi2")
namespace grouphead::kernels::HWY_NAMESPACE {
namespace {

// Sums in registers: 6 rows x 4 vectors, above the 6 chains that the latency needs; per step 24 dot
// products against 4 loads and 6 broadcasts.
constexpr int kRows = 6;
constexpr int kVectors = 4;
constexpr Index kRow = kBf16Keys + 32;  // of logits: no power of two

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
  const auto value = [&](Index s) {
    return s < end ? o.v.data + b * o.v.batch + s * o.v.time + n * o.v.head : nullptr;
  };
  for (Index s = begin; s < end; s += 2) {
    U16* to = o.packed_values(b * p.Hkv + n) + s * o.value_row;
    for (Index d = 0; d < o.value_row; d += kPanelKeys) {
      _mm512_storeu_si512(to + 2 * d, row_pairs(value(s), value(s + 1), d, p.Dv));
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
struct Scratch : Bf16Scratch<kRows, kRow> {
  Scratch(const AttentionProblem<float>& p, float* memory) noexcept
      : Scratch(p, ScratchCarver<float>(memory)) {}
  static Index size(const AttentionProblem<float>& p) noexcept { return Scratch(p, nullptr).used; }
  U16* probs(Index i) const noexcept { return narrow + i * kRow; }

  Index key_row;  // as they are packed
  float* maxima;  // [kRows][16]
  U16* narrow;    // [kRows][kRow]
  Index used;

 private:
  Scratch(const AttentionProblem<float>& p, ScratchCarver<float>&& memory) noexcept
      : Bf16Scratch(p, memory),
        key_row(HWY_NAMESPACE::key_row(p)),
        maxima(memory.take(kRows * kLanes)),
        narrow(memory.take<U16>(kRows * kRow)),
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
    for (int n = 0; n < N; ++n) x[n] = load_pairs(k + n * kPanelKeys * w.key_row);
    HWY_UNROLL(16)
    for (int i = 0; i < kRows; ++i) {
      const __m512bh y = pair_at(q + i * w.q_row + d);
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

// The products of a strip's queries with the keys [begin, end), whole blocks.
void multiply_keys(const Scratch& w, const U16* q, const U16* keys, Index begin,
                   Index end) noexcept {
  constexpr Index kStep = kVectors * kPanelKeys;
  Index j = begin;
  for (; j + kStep <= end; j += kStep) logit_tile<kVectors, false>(w, q, keys, nullptr, j);
  if (j < end) logit_tile<2, false>(w, q, keys, nullptr, j);
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
    store_narrow(first, second, w.probs(i) + c);
  }
  softmax.store(weights);
}

// out[i][.] = keep[i] out[i][.] + probs[i] values for `keys` keys, an even number.
template <int N>
HWY_NOINLINE void values_tile(const Scratch& w, const U16* values, const U16* probs, Index keys,
                              const float* keep, float* out) noexcept {
  __m512 sums[kRows][N];
  HWY_UNROLL(16)
  for (int i = 0; i < kRows; ++i) {
    HWY_UNROLL(16)
    for (int n = 0; n < N; ++n) {
      sums[i][n] =
          _mm512_mul_ps(_mm512_set1_ps(keep[i]), _mm512_loadu_ps(out + i * w.width + n * 16));
    }
  }
  for (Index s = 0; s < keys; s += 2, values += 2 * w.width, probs += 2) {
    __m512bh x[N];
    HWY_UNROLL(16)
    for (int n = 0; n < N; ++n) x[n] = load_pairs(values + n * 32);
    HWY_UNROLL(16)
    for (int i = 0; i < kRows; ++i) {
      const __m512bh y = pair_at(probs + i * kRow);
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

// values_tile() of all columns.
void multiply_values(const Scratch& w, const U16* values, const U16* probs, Index keys,
                     const float* keep, float* out) noexcept {
  Index x = 0;
  for (; x + kVectors * 16 <= w.width; x += kVectors * 16) {
    values_tile<kVectors>(w, values + 2 * x, probs, keys, keep, out + x);
  }
  for (; x < w.width; x += 16) values_tile<1>(w, values + 2 * x, probs, keys, keep, out + x);
}

// The keys [begin, end) that one row sees and not all of its strip do. The same pairs as in
// values_tile(), so its bits do not depend on the others; a key of a pair that it must not see
// counts as 0, not as 0 times what may be NaN.
void row_values(const Scratch& w, int i, const U16* values, Index begin, Index end,
                float* out) noexcept {
  const __m512i first = _mm512_set1_epi32(0xFFFF);
  for (Index s = begin / 2 * 2; s < end; s += 2) {
    const __m512bh y = pair_at(w.probs(i) + s);
    for (Index x = 0; x < w.width; x += 16) {
      __m512i v = _mm512_loadu_si512(values + s * w.width + 2 * x);
      if (s < begin) v = _mm512_andnot_si512(first, v);
      if (s + 1 == end) v = _mm512_and_si512(v, first);
      const __m512 sum = _mm512_loadu_ps(out + x);
      _mm512_storeu_ps(out + x, _mm512_dpbf16_ps(sum, y, reinterpret_cast<__m512bh>(v)));
    }
  }
}

// out += probs * values for the keys [first, behind) of a step. What causality or a window hides
// from some rows goes row by row.
void add_values(const Scratch& w, const U16* values, Index first, Index behind, const Index* begins,
                const Index* limits, float* out) noexcept {
  static constexpr float kAsItIs[kRows] = {1.0F, 1.0F, 1.0F, 1.0F, 1.0F, 1.0F};
  Index all_begin = 0;
  Index all_end = kBf16Keys;
  for (int i = 0; i < kRows; ++i) {
    all_begin = max(all_begin, begins[i]);
    all_end = min(all_end, limits[i]);
  }
  const Index from = min(behind, round_up(max(first, all_begin), 2));
  const Index to = max(from, min(behind, all_end) / 2 * 2);
  for (int i = 0; i < kRows; ++i) {
    row_values(w, i, values, max(first, begins[i]), min(from, limits[i]), out + i * w.width);
  }
  multiply_values(w, values + from * w.width, w.probs(0) + from, to - from, kAsItIs, out);
  for (int i = 0; i < kRows; ++i) {
    row_values(w, i, values, max(to, begins[i]), min(behind, limits[i]), out + i * w.width);
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
  multiply_values(w, values, w.probs(0), all, keep, out);
  for (int i = 0; i < kRows; ++i) row_values(w, i, values, all, limits[i], out + i * w.width);
}

struct Engine {
  static constexpr Index kKeyGroup = 48;
  static constexpr auto& multiply = multiply_by_vectors;
  using Scratch = HWY_NAMESPACE::Scratch;
  static constexpr int kRows = HWY_NAMESPACE::kRows;
  static constexpr auto& multiply_keys = HWY_NAMESPACE::multiply_keys;
  static constexpr auto& add_values = HWY_NAMESPACE::add_values;
  static constexpr auto& attend_strip = HWY_NAMESPACE::attend_strip;
};

}  // namespace

const Bf16Kernels& bf16_table() noexcept {
  static constexpr Bf16Kernels kTable = {
      .key_row = key_row,
      .value_row = value_row,
      .pack = pack,
      .forward_scratch = Scratch::size,
      .forward = bf16_forward_unit<Engine>,
      .gradient_delta = bf16_gradient_delta,
      .gradient_scratch = Bf16GradientScratch::size,
      .gradient_begin = bf16_gradient_begin,
      .gradient_block = bf16_gradient_block<Engine>,
      .gradient_end = bf16_gradient_end,
  };
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
