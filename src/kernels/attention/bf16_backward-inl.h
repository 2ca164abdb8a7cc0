// The backward on bf16 values: backward-inl.h with five products of bf16 (Engine::multiply()), for
// which probabilities and gradients of logits are rounded, and sums in f32. Included for the target
// AVX3 alone, by processors' instructions for bf16.

#if defined(GROUPHEAD_KERNELS_ATTENTION_BF16_BACKWARD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef GROUPHEAD_KERNELS_ATTENTION_BF16_BACKWARD_INL_H_
#undef GROUPHEAD_KERNELS_ATTENTION_BF16_BACKWARD_INL_H_
#else
#define GROUPHEAD_KERNELS_ATTENTION_BF16_BACKWARD_INL_H_
#endif

#include "kernels/attention/backward_row-inl.h"
#include "kernels/attention/bf16-inl.h"
#include "kernels/cpu/bf16.h"

HWY_PUSH_ATTRIBUTES(HWY_TARGET_STR ",avx512bf16,bmi2")
namespace grouphead::kernels::HWY_NAMESPACE {

constexpr int kBf16Strip = 32;  // rows of a block that go through the softmax together
constexpr Index kNarrowRow = kGradientKeys + kBf16Lanes;  // no power of two
static_assert(kGradientRows % kBf16Strip == 0 && kGradientKeys % kVisibilityKeys == 0);

// Memory of a gradient unit: 0.6 MiB at D = Dv = 64, for L2.
struct Bf16GradientScratch {
  Bf16GradientScratch(const AttentionProblem<float>& p, float* memory) noexcept
      : Bf16GradientScratch(p, ScratchCarver<float>(memory)) {}
  static Index size(const AttentionProblem<float>& p) noexcept {
    return Bf16GradientScratch(p, nullptr).used;
  }
  float* biased(Index row) const noexcept {
    return d_biased == nullptr ? d_logits + row % kBf16Strip * kProbRow : d_biased + row * kProbRow;
  }

  Index dp, dvp;    // D and Dv in whole vectors
  Index dq, dvq;    // and in whole blocks of a product
  float* d_q;       // [kGradientRows][dp]: this tile's share, without the scale
  float* d_biased;  // [kGradientRows][kProbRow] or null; see biased_gradients()
  float* d_k;       // [dp][kGradientKeys], without the scale
  float* d_v;       // [dvp][kGradientKeys]
  float* probs;     // [kBf16Strip][kProbRow]
  float* d_logits;  // [kBf16Strip][kProbRow]: d_prob, then the gradient of the products
  float* tops;      // [kGradientRows]: greatest logits
  float* inverses;  // [kGradientRows]: of the sums of weights
  float* delta;     // [kGradientRows]
  U16* k_panels;    // [kGradientKeys / 16][dq / 2][16][2]
  U16* v_panels;    // [kGradientKeys / 16][dvq / 2][16][2]
  U16* k_pairs;     // [kGradientKeys / 2][dp][2]
  U16* q;           // [kGradientRows][dq]
  U16* d_out;       // [kGradientRows][dvq]
  U16* q_columns;   // [kGradientRows / 32][dp][32]; rows with NaN or infinities are zero
  U16* d_columns;   // [kGradientRows / 32][dvp][32]: of d_out
  U16* prob_pairs;  // [kGradientRows / 2][kGradientKeys][2]
  U16* d_pairs;     // the same of the gradients of products
  U16* d_rows;      // [kGradientRows][kNarrowRow]: these again
  U16* pairs;       // [16][dp or dvp][2]
  StripMemory<kBf16Strip> strip;
  Index used;

 private:
  Bf16GradientScratch(const AttentionProblem<float>& p, ScratchCarver<float>&& memory) noexcept
      : dp(round_up(p.D, kLanes)),
        dvp(round_up(p.Dv, kLanes)),
        dq(round_up(p.D, kBf16Lanes)),
        dvq(round_up(p.Dv, kBf16Lanes)),
        d_q(memory.take(kGradientRows * dp)),
        d_biased(p.bias.data == nullptr ? nullptr : memory.take(kGradientRows * kProbRow)),
        d_k(memory.take(kGradientKeys * dp)),
        d_v(memory.take(kGradientKeys * dvp)),
        probs(memory.take(kBf16Strip * kProbRow)),
        d_logits(memory.take(kBf16Strip * kProbRow)),
        tops(memory.take(kGradientRows)),
        inverses(memory.take(kGradientRows)),
        delta(memory.take(kGradientRows)),
        k_panels(memory.take<U16>(kGradientKeys * dq)),
        v_panels(memory.take<U16>(kGradientKeys * dvq)),
        k_pairs(memory.take<U16>(kGradientKeys * dp)),
        q(memory.take<U16>(kGradientRows * dq)),
        d_out(memory.take<U16>(kGradientRows * dvq)),
        q_columns(memory.take<U16>(kGradientRows * dp)),
        d_columns(memory.take<U16>(kGradientRows * dvp)),
        prob_pairs(memory.take<U16>(kGradientRows * kGradientKeys)),
        d_pairs(memory.take<U16>(kGradientRows * kGradientKeys)),
        d_rows(memory.take<U16>(kGradientRows * kNarrowRow)),
        pairs(memory.take<U16>(kBf16Lanes * max(dp, dvp))),
        strip(memory),
        used(memory.used()) {}
};

// sum_d out d_out of each row.
static void bf16_gradient_delta(const AttentionProblem<float>& p,
                                const AttentionGradients<float>& g, const Bf16Operands& o, Index bn,
                                Index block) noexcept {
  const Index first = block * kGradientRows;
  const Index end = min(first + kGradientRows, p.rows());
  RowCursor<U16> out(p, o.out, bn, first);
  RowCursor<const U16> d_out(p, o.d_out, bn, first);
  RowCursor<float> delta(p, statistics(p, g.delta), bn, first);
  for (Index r = first; r < end; ++r) {
    __m512 sum = _mm512_setzero_ps();
    for (Index d = 0; d < p.Dv; d += kBf16Lanes) {
      const auto exist = static_cast<__mmask32>(first_bits(p.Dv - d));
      sum = _mm512_dpbf16_ps(
          sum, reinterpret_cast<__m512bh>(_mm512_maskz_loadu_epi16(exist, out.get() + d)),
          reinterpret_cast<__m512bh>(_mm512_maskz_loadu_epi16(exist, d_out.get() + d)));
    }
    *delta.get() = _mm512_reduce_add_ps(sum);
    if (r + 1 < end) out.next(), d_out.next(), delta.next();
  }
}

// to [count / 2][width][2] = `count` rows of n in pairs, zeros behind n and from row `valid` on.
// Values that are not finite are zeros: they would reach rows that do not see them as 0 NaN, and
// rows that see them have probabilities that are NaN.
static void pair_rows(const U16* from, Index row, Index valid, Index count, Index n, Index width,
                      U16* to) noexcept {
  const __m512i infinity = _mm512_set1_epi16(0x7F80);
  for (Index s = 0; s < count; s += 2) {
    const U16* first = s < valid ? from + s * row : nullptr;
    const U16* second = s + 1 < valid ? from + (s + 1) * row : nullptr;
    for (Index d = 0; d < width; d += kLanes, to += kBf16Lanes) {
      const __m512i x = row_pairs(first, second, d, n);
      const __mmask32 finite = _mm512_cmpneq_epi16_mask(_mm512_and_si512(x, infinity), infinity);
      _mm512_storeu_si512(to, _mm512_maskz_mov_epi16(finite, x));
    }
  }
}

static void bf16_gradient_begin(const AttentionProblem<float>& p, const Bf16Operands& o, Index bn,
                                Index tile, float* scratch) noexcept {
  const Bf16GradientScratch w(p, scratch);
  const Index first = tile * kGradientKeys;
  const Index keys = min(kGradientKeys, p.S - first);
  const auto part = [&](const Heads<const U16>& x) {
    return x.data + bn / p.Hkv * x.batch + bn % p.Hkv * x.head + first * x.time;
  };
  const U16* k = part(o.k);
  const U16* v = part(o.v);
  fill(w.d_k, kGradientKeys * w.dp, 0.0F);
  fill(w.d_v, kGradientKeys * w.dvp, 0.0F);
  for (Index j = 0; j < kGradientKeys; j += kPanelKeys) {
    const Index valid = max(0, keys - j);
    const Index from = min(j, keys - 1);
    pack_bf16_panel(k + from * o.k.time, o.k.time, valid, p.D, w.dq, w.k_panels + j * w.dq);
    pack_bf16_panel(v + from * o.v.time, o.v.time, valid, p.Dv, w.dvq, w.v_panels + j * w.dvq);
  }
  pair_rows(k, o.k.time, keys, kGradientKeys, p.D, w.dp, w.k_pairs);
}

// to [padded / 32][width][32] = rows [padded][row], transposed; a row of which `is_apart` zeros.
static void transpose_rows(const U16* rows, Index row, Index padded, Index width,
                           const bool* is_apart, U16* pairs, U16* to) noexcept {
  for (Index r = 0; r < padded; r += kBf16Lanes) {
    transpose_block(
        rows + r * row, row, width, [&](Index i) { return !is_apart[r + i]; }, pairs,
        to + r * width);
  }
}

// Rows of a block, the last one repeated to whole strips; those with NaN or infinities are noted.
static void load_bf16_block(const Bf16GradientScratch& w, const AttentionProblem<float>& p,
                            const AttentionGradients<float>& g, const Bf16Operands& o, Index bn,
                            Index first, Index padded, bool* is_apart) noexcept {
  load_bf16_rows(p, o.q, p.D, bn, first, padded, w.q, w.dq);
  load_bf16_rows(p, o.d_out, p.Dv, bn, first, padded, w.d_out, w.dvq);
  RowCursor<float> top(p, statistics(p, p.tops), bn, first);
  RowCursor<float> sum(p, statistics(p, p.sums), bn, first);
  RowCursor<float> delta(p, statistics(p, g.delta), bn, first);
  for (Index i = 0; i < padded; ++i) {
    is_apart[i] = !are_finite(w.q + i * w.dq, w.dq) || !are_finite(w.d_out + i * w.dvq, w.dvq);
    w.tops[i] = *top.get();
    // Zero makes every probability of a repeated row zero, as for a row without keys.
    w.inverses[i] = first + i < p.rows() ? inverse_of(*sum.get()) : 0.0F;
    w.delta[i] = *delta.get();
    if (first + i + 1 < p.rows()) top.next(), sum.next(), delta.next();
  }
  transpose_rows(w.q, w.dq, padded, w.dp, is_apart, w.pairs, w.q_columns);
  transpose_rows(w.d_out, w.dvq, padded, w.dvp, is_apart, w.pairs, w.d_columns);
}

// Rounds the rows i and i + 1 of a strip, [begin, end) of them: side by side in pairs, and if
// `rows` is there one after the other.
static HWY_INLINE void narrow_rows(const float* x, U16* pairs, U16* rows) noexcept {
  alignas(64) static constexpr U16 kLower[32] = {0,  32, 1,  33, 2,  34, 3,  35, 4,  36, 5,
                                                 37, 6,  38, 7,  39, 8,  40, 9,  41, 10, 42,
                                                 11, 43, 12, 44, 13, 45, 14, 46, 15, 47};
  const __m512i lower = _mm512_load_si512(kLower);
  const __m512i upper = _mm512_add_epi16(lower, _mm512_set1_epi16(16));
  for (Index c = 0; c < kGradientKeys; c += kBf16Lanes) {
    const auto narrow = [&](const float* from) {
      return reinterpret_cast<__m512i>(
          _mm512_cvtne2ps_pbh(_mm512_loadu_ps(from + kLanes), _mm512_loadu_ps(from)));
    };
    const __m512i first = narrow(x + c);
    const __m512i second = narrow(x + kProbRow + c);
    _mm512_storeu_si512(pairs + 2 * c, _mm512_permutex2var_epi16(first, lower, second));
    _mm512_storeu_si512(pairs + 2 * c + kBf16Lanes,
                        _mm512_permutex2var_epi16(first, upper, second));
    if (rows == nullptr) continue;
    _mm512_storeu_si512(rows + c, first);
    _mm512_storeu_si512(rows + kNarrowRow + c, second);
  }
}

// P and dS of the strip of rows from `row` on, rounded, then its share of dQ = dS K.
template <class Engine>
static void bf16_gradient_strip(const Bf16GradientScratch& w, const AttentionProblem<float>& p,
                                const AttentionGradients<float>& g, Index b, const RowPlace* places,
                                const Visibility<kBf16Strip>& visibility, Index row,
                                Index first_key) noexcept {
  prefetch_bias(p, b, places + row, first_key, visibility);
  const Vector scale = hn::Set(kFloats, p.scale * kLog2E);
  for (Index n = 0; n < visibility.num_segments; ++n) {
    const Index begin = visibility.segments[n].begin;
    const Index columns = round_up(visibility.segments[n].end, kLanes) - begin;
    Engine::multiply({w.q + row * w.dq, w.dq, kBf16Lanes},
                     {w.k_panels + begin * w.dq, kBf16Lanes, kPanelKeys * w.dq}, kBf16Strip,
                     columns, w.dq, false, w.probs + begin, kProbRow);
    Engine::multiply({w.d_out + row * w.dvq, w.dvq, kBf16Lanes},
                     {w.v_panels + begin * w.dvq, kBf16Lanes, kPanelKeys * w.dvq}, kBf16Strip,
                     columns, w.dvq, false, w.d_logits + begin, kProbRow);
    for (Index i = 0; i < kBf16Strip; ++i) {
      float* x = w.probs + i * kProbRow + begin;
      for (Index c = 0; c < columns; c += kLanes) {
        hn::StoreU(hn::Mul(scale, hn::LoadU(kFloats, x + c)), kFloats, x + c);
      }
    }
  }
  for (int i = 0; i < kBf16Strip; ++i) {
    const Index r = row + i;
    const GradientRow of_row{w.probs + i * kProbRow,
                             w.d_logits + i * kProbRow,
                             w.biased(r),
                             w.tops[r],
                             w.inverses[r],
                             w.delta[r]};
    gradient_row(p, g, of_row, w.strip, b, places[r], visibility, i, first_key, kGradientKeys);
  }
  for (Index i = 0; i < kBf16Strip; i += 2) {
    const Index place = (row + i) * kGradientKeys;
    narrow_rows(w.probs + i * kProbRow, w.prob_pairs + place, nullptr);
    narrow_rows(w.d_logits + i * kProbRow, w.d_pairs + place, w.d_rows + (row + i) * kNarrowRow);
  }
  for_blocks(visibility, [&](Index begin, Index end) {
    Engine::multiply({w.d_rows + row * kNarrowRow + begin, kNarrowRow, kBf16Lanes},
                     {w.k_pairs + begin * w.dp, 2 * w.dp, kBf16Lanes}, kBf16Strip, w.dp,
                     end - begin, true, w.d_q + row * w.dp, w.dp);
  });
}

// dV += P^T dO and dK += dS^T Q for the keys from j on and rows [begin, end) of a block, whole
// strips; transposed.
template <class Engine>
static void add_to_bf16_keys(const Bf16GradientScratch& w, Index j, Index begin,
                             Index end) noexcept {
  const Index place = begin * kGradientKeys + 2 * j;
  Engine::multiply({w.d_columns + begin * w.dvp, kBf16Lanes, kBf16Lanes * w.dvp},
                   {w.prob_pairs + place, 2 * kGradientKeys, kBf16Lanes}, w.dvp, Engine::kKeyGroup,
                   end - begin, true, w.d_v + j, kGradientKeys);
  Engine::multiply({w.q_columns + begin * w.dp, kBf16Lanes, kBf16Lanes * w.dp},
                   {w.d_pairs + place, 2 * kGradientKeys, kBf16Lanes}, w.dp, Engine::kKeyGroup,
                   end - begin, true, w.d_k + j, kGradientKeys);
}

// What row i of a block gives to the keys that it sees: those that it gives anything to. Of rows
// with NaN or infinities, which would reach keys that they do not see as 0 NaN.
static HWY_NOINLINE void add_row_to_bf16_keys(const Bf16GradientScratch& w,
                                              const AttentionProblem<float>& p, Index i) noexcept {
  for (Index j = 0; j < kGradientKeys; ++j) {
    const Index place = i / 2 * 2 * kGradientKeys + 2 * j + i % 2;
    const float prob = bf16_value(w.prob_pairs[place]);
    for (Index d = 0; prob != 0.0F && d < p.Dv; ++d) {
      w.d_v[d * kGradientKeys + j] += prob * bf16_value(w.d_out[i * w.dvq + d]);
    }
    const float d_logit = bf16_value(w.d_pairs[place]);
    for (Index d = 0; d_logit != 0.0F && d < p.D; ++d) {
      w.d_k[d * kGradientKeys + j] += d_logit * bf16_value(w.q[i * w.dq + d]);
    }
  }
}

template <class Engine>
static void bf16_gradient_block(const AttentionProblem<float>& p,
                                const AttentionGradients<float>& g, const Bf16Operands& o, Index bn,
                                Index tile, Index block, float* scratch) noexcept {
  const FlushToZero flush;
  constexpr Index kStrips = kGradientRows / kBf16Strip;
  const Bf16GradientScratch w(p, scratch);
  const Index b = bn / p.Hkv;
  const Index first_key = tile * kGradientKeys;
  const Index first = block * kGradientRows;
  const Index padded = round_up(min(kGradientRows, p.rows() - first), kBf16Strip);
  bool is_apart[kGradientRows];
  load_bf16_block(w, p, g, o, bn, first, padded, is_apart);
  fill(w.d_q, padded * w.dp, 0.0F);
  RowPlace places[kGradientRows];
  find_places(p, bn, first, padded, places);
  Visibility<kBf16Strip> visibility;
  std::uint32_t groups[kStrips] = {};  // which kKeyGroup keys a strip sees any of, a bit for each
  for (Index row = 0; row < padded; row += kBf16Strip) {
    look(p, b, places + row, first_key, kGradientKeys, w.strip, visibility);
    if (visibility.num_segments == 0) {
      if (w.d_biased != nullptr) fill(w.biased(row), kBf16Strip * kProbRow, 0.0F);
      continue;
    }
    bf16_gradient_strip<Engine>(w, p, g, b, places, visibility, row, first_key);
    for (Index n = 0; n < visibility.num_segments; ++n) {
      const auto [begin, end] = visibility.segments[n];
      for (Index x = begin / Engine::kKeyGroup; x * Engine::kKeyGroup < end; ++x) {
        groups[row / kBf16Strip] |= 1U << x;
      }
    }
    for (Index i = row; i < row + kBf16Strip; ++i) {
      if (is_apart[i] && first + i < p.rows()) add_row_to_bf16_keys(w, p, i);
    }
  }
  const Index keys = min(kGradientKeys, p.S - first_key);
  for (Index j = 0; j < keys; j += Engine::kKeyGroup) {
    const auto sees = [&](Index row) {
      return row < padded && (groups[row / kBf16Strip] >> j / Engine::kKeyGroup & 1) != 0;
    };
    for (Index row = 0; row < padded; row += kBf16Strip) {
      if (!sees(row)) continue;
      const Index begin = row;
      while (sees(row)) row += kBf16Strip;
      add_to_bf16_keys<Engine>(w, j, begin, row);
    }
  }
}

// to = factor times the transpose of from [width][kGradientKeys], `keys` rows of n.
static void store_keys(const float* from, Index width, float factor, Index keys, Index n,
                       float* buffer, float* to, Index row) noexcept {
  for (Index d = 0; d < width; d += kLanes) {
    pack_panel(from + d * kGradientKeys, kGradientKeys, 0, kLanes, kGradientKeys, buffer);
    const Index count = min(kLanes, n - d);
    for (Index j = 0; j < keys; ++j) {
      copy_row(buffer + j * kLanes, count, count, factor, to + j * row + d);
    }
  }
}

static void bf16_gradient_end(const AttentionProblem<float>& p, const AttentionGradients<float>& g,
                              Index bn, Index tile, float* scratch) noexcept {
  const Bf16GradientScratch w(p, scratch);
  const Index first = tile * kGradientKeys;
  const Index keys = min(kGradientKeys, p.S - first);
  const auto part = [&](const Heads<float>& x) {
    return x.data + bn / p.Hkv * x.batch + bn % p.Hkv * x.head + first * x.time;
  };
  static_assert(kBf16Strip * kProbRow >= kGradientKeys * kLanes);  // the buffer
  store_keys(w.d_k, w.dp, p.scale, keys, p.D, w.probs, part(g.d_k), g.d_k.time);
  store_keys(w.d_v, w.dvp, 1.0F, keys, p.Dv, w.probs, part(g.d_v), g.d_v.time);
}

}  // namespace grouphead::kernels::HWY_NAMESPACE
HWY_POP_ATTRIBUTES

#endif
