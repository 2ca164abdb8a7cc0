// What the two kernels on bf16 values share: all but their products, which an Engine has. Included
// for the target AVX3 alone, by processors' instructions for bf16.

#if defined(GROUPHEAD_KERNELS_ATTENTION_BF16_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef GROUPHEAD_KERNELS_ATTENTION_BF16_INL_H_
#undef GROUPHEAD_KERNELS_ATTENTION_BF16_INL_H_
#else
#define GROUPHEAD_KERNELS_ATTENTION_BF16_INL_H_
#endif

#include "kernels/attention/bf16.h"
#include "kernels/attention/visibility-inl.h"
#include "kernels/gemm/bf16-inl.h"

HWY_PUSH_ATTRIBUTES(HWY_TARGET_STR ",avx512bf16,bmi2")
namespace grouphead::kernels::HWY_NAMESPACE {

// The weights 2^(factor x - top) of keys, and their sum, which is taken before they are rounded.
// Even and odd vectors have sums of their own, wherever a row begins.
struct Bf16Softmax {
  // `weights`: the sums so far.
  HWY_INLINE Bf16Softmax(float factor_of_x, float row_top, const float* weights) noexcept
      : factor(hn::Set(kFloats, factor_of_x)),
        // A row that has seen nothing yet keeps weights of zero.
        top(hn::Set(kFloats, row_top == kMasked ? 0.0F : row_top)),
        even(hn::LoadU(kFloats, weights)),
        odd(hn::Zero(kFloats)) {}
  HWY_INLINE void operator()(const float* x, Vector& first, Vector& second) noexcept {
    first = exp2_neg(hn::MulSub(hn::LoadU(kFloats, x), factor, top));
    second = exp2_neg(hn::MulSub(hn::LoadU(kFloats, x + kLanes), factor, top));
    even = hn::Add(even, first);
    odd = hn::Add(odd, second);
  }
  HWY_INLINE void store(float* weights) const noexcept {
    hn::StoreU(hn::Add(even, odd), kFloats, weights);
  }

  Vector factor, top, even, odd;
};

static HWY_INLINE void store_narrow(Vector first, Vector second, U16* to) noexcept {
  const __m512bh both = _mm512_cvtne2ps_pbh(second.raw, first.raw);
  _mm512_storeu_si512(to, reinterpret_cast<__m512i>(both));
}

// Divides the sums over values of packed row r of head bn by its weights, rounds them, and notes
// the row's softmax.
static HWY_INLINE void finish_bf16_row(const AttentionProblem<float>& p, Index bn, Index r,
                                       float top, const float* weights, const float* sums,
                                       U16* out) noexcept {
  const float sum = hn::GetLane(hn::SumOfLanes(kFloats, hn::LoadU(kFloats, weights)));
  const Vector share = hn::Set(kFloats, finish_softmax(p, bn, r, top, sum));
  for (Index d = 0; d < p.Dv; d += kLanes) {
    const Vector x = hn::Mul(share, hn::LoadU(kFloats, sums + d));
    _mm256_mask_storeu_epi16(out + d, static_cast<__mmask16>(first_bits(p.Dv - d)),
                             reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(x.raw)));
  }
}

// `count` packed rows of head bn from `first` on, n values of each, the last one repeated, to rows
// of to_row, a multiple of kBf16Lanes; zeros behind.
static HWY_INLINE void load_bf16_rows(const AttentionProblem<float>& p, const Heads<const U16>& x,
                                      Index n, Index bn, Index first, Index count, U16* to,
                                      Index to_row) noexcept {
  RowCursor<const U16> from(p, x, bn, first);
  for (Index r = 0; r < count; ++r, to += to_row) {
    for (Index d = 0; d < to_row; d += kBf16Lanes) {
      const auto exist = static_cast<__mmask32>(first_bits(max(0, n - d)));
      _mm512_storeu_si512(to + d, _mm512_maskz_loadu_epi16(exist, from.get() + d));
    }
    if (first + r + 1 < p.rows()) from.next();
  }
}

static HWY_INLINE bool are_finite(const U16* values, Index count) noexcept {
  const __m512i infinity = _mm512_set1_epi16(0x7F80);
  __mmask32 found = 0;
  for (Index i = 0; i < count; i += 32) {
    const __m512i exponent = _mm512_and_si512(_mm512_loadu_si512(values + i), infinity);
    found |= _mm512_cmpeq_epi16_mask(exponent, infinity);
  }
  return found == 0;
}

constexpr Index kBf16Keys = 256;  // of one softmax step
static_assert(kBf16Keys % kVisibilityKeys == 0 && kPackKeys % kBf16Lanes == 0);

// Memory of a forward unit, in strips of kRows rows; an Engine adds its own.
template <int kRows, Index kLogitRow>
struct Bf16Scratch {
  static constexpr Index kRow = kLogitRow;

  Bf16Scratch(const AttentionProblem<float>& p, ScratchCarver<float>& memory) noexcept
      : width(round_up(p.Dv, kLanes)),
        q_row(round_up(p.D, kBf16Lanes)),
        out(memory.take(kForwardRows * width)),
        weights(memory.take(kForwardRows * kLanes)),
        tops(memory.take(kForwardRows)),
        logits(memory.take(kRows * kRow)),
        q(memory.take<U16>(kForwardRows * q_row)),
        strip(memory) {}

  Index width, q_row;
  float* out;      // [kForwardRows][width]: sums of weight * v
  float* weights;  // [kForwardRows][16]: sums of weights
  float* tops;     // [kForwardRows]: the maximum that the weights are relative to, in base 2
  float* logits;   // [kRows][kRow]: products, then logits
  U16* q;          // [kForwardRows][q_row]
  StripMemory<kRows> strip;
};

// Moves the maxima of a strip to those of this step times `scale`, where these are greater, and
// what was summed up along with them.
template <int kRows, class Scratch>
static HWY_INLINE void move_tops(const Scratch& w, Index row, float* here, float scale) noexcept {
  for (int i = 0; i < kRows; ++i) here[i] *= scale;
  HWY_ALIGN float keep[round_up(kRows, 16)];
  raise_tops<kRows>(here, w.tops + row, keep);
  for (int i = 0; i < kRows; ++i) {
    if (keep[i] == 1.0F) continue;
    float* weights = w.weights + (row + i) * kLanes;
    copy_row(weights, kLanes, kLanes, keep[i], weights);
    float* out = w.out + (row + i) * w.width;
    copy_row(out, w.width, w.width, keep[i], out);
  }
}

// body(begin, end) for each segment of keys, in whole blocks of kBf16Lanes.
template <int kRows, class Body>
static HWY_INLINE void for_blocks(const Visibility<kRows>& visibility, const Body& body) noexcept {
  for (Index n = 0; n < visibility.num_segments; ++n) {
    body(visibility.segments[n].begin / kBf16Lanes * kBf16Lanes,
         round_up(visibility.segments[n].end, kBf16Lanes));
  }
}

// Logits of a row in place, times `scale`, and their maximum.
template <int kRows>
static HWY_INLINE float find_logits(const Visibility<kRows>& visibility, const RowLogits& logits_of,
                                    float scale, float* x) noexcept {
  const Vector factor = hn::Set(kFloats, scale);
  for (Index n = 0; scale != 1.0F && n < visibility.num_segments; ++n) {
    for (Index c = visibility.segments[n].begin; c < visibility.segments[n].end; c += kLanes) {
      hn::StoreU(hn::Mul(factor, hn::LoadU(kFloats, x + c)), kFloats, x + c);
    }
  }
  const float top = mask_row(visibility, logits_of, x);
  for (Index n = 0; n < visibility.num_segments; ++n) {
    const auto [first, behind] = visibility.segments[n];
    const Index begin = first / kBf16Lanes * kBf16Lanes;
    const Index written = round_up(behind, kLanes);
    fill(x + begin, first - begin, kMasked);
    fill(x + written, round_up(behind, kBf16Lanes) - written, kMasked);
  }
  return top;
}

// Probabilities of row i of a strip from its logits: 2^(factor x - top), kept or dropped.
template <class Engine>
static HWY_INLINE void find_weights(const typename Engine::Scratch& w,
                                    const AttentionProblem<float>& p, Index b,
                                    const RowPlace& place,
                                    const Visibility<Engine::kRows>& visibility, Index row, int i,
                                    Index first_key, float factor) noexcept {
  float* x = w.logits + i * Engine::Scratch::kRow;
  Bf16Softmax softmax(factor, w.tops[row + i], w.weights + (row + i) * kLanes);
  if (!p.dropout.active) {
    for_blocks(visibility, [&](Index begin, Index end) {
      for (Index c = begin; c < end; c += 2 * kLanes) {
        Vector first, second;
        softmax(x + c, first, second);
        store_narrow(first, second, w.probs(i) + c);
      }
    });
    return softmax.store(w.weights + (row + i) * kLanes);
  }
  for_blocks(visibility, [&](Index begin, Index end) {
    for (Index c = begin; c < end; c += 2 * kLanes) {
      Vector first, second;
      softmax(x + c, first, second);
      hn::StoreU(first, kFloats, x + c);
      hn::StoreU(second, kFloats, x + c + kLanes);
    }
  });
  softmax.store(w.weights + (row + i) * kLanes);
  drop_row(p, b, place, visibility, first_key, w.strip.kept, x);
  for_blocks(visibility, [&](Index begin, Index end) {
    for (Index c = begin; c < end; c += 2 * kLanes) {
      const Vector first = hn::LoadU(kFloats, x + c);
      store_narrow(first, hn::LoadU(kFloats, x + c + kLanes), w.probs(i) + c);
    }
  });
}

// One strip against the keys of one step, with options: `rows` of batch entry b.
template <class Engine>
static HWY_NOINLINE void attend_strip_with_options(const typename Engine::Scratch& w,
                                                   const AttentionProblem<float>& p, Index b,
                                                   const RowPlace* rows,
                                                   const Visibility<Engine::kRows>& visibility,
                                                   Index strip, Index first_key, const U16* keys,
                                                   const U16* values) noexcept {
  const Index row = strip * Engine::kRows;
  prefetch_bias(p, b, rows, first_key, visibility);
  for_blocks(visibility, [&](Index begin, Index end) {
    Engine::multiply_keys(w, w.q + row * w.q_row, keys, begin, end);
  });
  // What is more than products is in base 2; else these stay as they are, for the bits of a strip
  // without options.
  const float scale = p.scale * kLog2E;
  const bool is_scaled = changes_products(p) || !(scale > 0.0F);
  const float left = is_scaled ? 1.0F : scale;
  float here[Engine::kRows];
  for (int i = 0; i < Engine::kRows; ++i) {
    const RowLogits logits_of(p, b, rows[i], first_key, visibility, i, w.strip);
    here[i] = find_logits(visibility, logits_of, is_scaled ? scale : 1.0F,
                          w.logits + i * Engine::Scratch::kRow);
  }
  move_tops<Engine::kRows>(w, row, here, left);
  for (int i = 0; i < Engine::kRows; ++i) {
    find_weights<Engine>(w, p, b, rows[i], visibility, row, i, first_key, left);
  }
  for (Index n = 0; n < visibility.num_segments; ++n) {
    Engine::add_values(w, values, visibility.segments[n].begin, visibility.segments[n].end,
                       visibility.begins, visibility.limits, w.out + row * w.width);
  }
}

// All rows of a unit against all keys that they see.
template <class Engine>
static HWY_INLINE void attend_bf16(const typename Engine::Scratch& w,
                                   const AttentionProblem<float>& p, const Bf16Operands& o,
                                   Index bn, Index first, Index rows) noexcept {
  constexpr int kRows = Engine::kRows;
  RowPlace places[kForwardRows];
  find_places(p, bn, first, rows, places);
  const auto [begin, end] = range_of(places, rows, p.S);
  const bool is_plain = !has_options(p) && p.scale > 0.0F;
  Visibility<kRows> visibility;
  for (Index s = begin / kBf16Keys * kBf16Keys; s < end; s += kBf16Keys) {
    const U16* keys = o.packed_keys(bn) + s * o.key_row;
    const U16* values = o.packed_values(bn) + s * w.width;
    for (Index strip = 0; strip < rows / kRows; ++strip) {
      const RowPlace* const of_strip = places + strip * kRows;
      if (is_plain) {
        Index limits[kRows];
        for (int i = 0; i < kRows; ++i) limits[i] = max(0, min(kBf16Keys, of_strip[i].limit - s));
        if (limits[kRows - 1] > 0) Engine::attend_strip(w, p, strip, limits, keys, values);
        continue;
      }
      look(p, bn / p.Hkv, of_strip, s, kBf16Keys, w.strip, visibility);
      if (visibility.num_segments == 0) continue;
      attend_strip_with_options<Engine>(w, p, bn / p.Hkv, of_strip, visibility, strip, s, keys,
                                        values);
    }
  }
}

// A unit. The order of units, blocks and rows is that of the f32 forward.
template <class Engine>
static HWY_INLINE void bf16_forward_unit(const AttentionProblem<float>& p, const Bf16Operands& o,
                                         Index unit, float* memory) noexcept {
  const FlushToZero flush;
  const typename Engine::Scratch w(p, memory);
  const Index blocks = ceil_div(p.rows(), kForwardRows);
  const Index bn = unit / blocks;
  const Index first = (blocks - 1 - unit % blocks) * kForwardRows;
  const Index rows = min(kForwardRows, p.rows() - first);
  const Index padded = round_up(rows, Engine::kRows);
  load_bf16_rows(p, o.q, p.D, bn, first, padded, w.q, w.q_row);
  for (Index r = 0; r < padded; ++r) w.tops[r] = kMasked;
  fill(w.out, padded * w.width, 0.0F);
  fill(w.weights, padded * kLanes, 0.0F);
  attend_bf16<Engine>(w, p, o, bn, first, padded);
  RowCursor<U16> out(p, o.out, bn, first);
  for (Index r = 0; r < rows; ++r, out.next()) {
    finish_bf16_row(p, bn, first + r, w.tops[r], w.weights + r * kLanes, w.out + r * w.width,
                    out.get());
  }
}

}  // namespace grouphead::kernels::HWY_NAMESPACE
HWY_POP_ATTRIBUTES

#endif
