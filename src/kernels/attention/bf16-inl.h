// What the two forwards on bf16 values share: weights of keys, their rounding, and the way in and
// out of a unit. Included for the target AVX3 alone, by processors' instructions for bf16.

#if defined(GROUPHEAD_KERNELS_ATTENTION_BF16_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef GROUPHEAD_KERNELS_ATTENTION_BF16_INL_H_
#undef GROUPHEAD_KERNELS_ATTENTION_BF16_INL_H_
#else
#define GROUPHEAD_KERNELS_ATTENTION_BF16_INL_H_
#endif

#include "kernels/attention/bf16.h"
#include "kernels/attention/tiles-inl.h"
#include "kernels/cpu/intrinsics.h"

HWY_PUSH_ATTRIBUTES(HWY_TARGET_STR ",avx512bf16,bmi2")
namespace grouphead::kernels::HWY_NAMESPACE {

using U16 = std::uint16_t;
constexpr Index kBf16Lanes = 32;  // of a register

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

// Bits [0, count) of a mask, for 32 at most.
static HWY_INLINE std::uint32_t first_bits(Index count) noexcept {
  return _bzhi_u32(0xFFFFFFFFU, static_cast<unsigned>(min(32, count)));
}

// Divides a row of `out` by the sum of its weights, which it returns.
static HWY_INLINE float finish_bf16_row(const float* weights, const float* sums, Index Dv,
                                        U16* out) noexcept {
  const float sum = hn::GetLane(hn::SumOfLanes(kFloats, hn::LoadU(kFloats, weights)));
  const Vector share = hn::Set(kFloats, sum == 0.0F ? 0.0F : 1.0F / sum);
  for (Index d = 0; d < Dv; d += kLanes) {
    const Vector x = hn::Mul(share, hn::LoadU(kFloats, sums + d));
    _mm256_mask_storeu_epi16(out + d, static_cast<__mmask16>(first_bits(Dv - d)),
                             reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(x.raw)));
  }
  return sum;
}

// The queries of `count` packed rows of head bn from `first` on, the last one repeated, to rows of
// q_row, a multiple of kBf16Lanes; zeros behind.
static HWY_INLINE void load_bf16_queries(const AttentionProblem<float>& p, const Bf16Operands& o,
                                         Index bn, Index first, Index count, U16* to,
                                         Index q_row) noexcept {
  RowCursor<const U16> q(p, o.q, bn, first);
  for (Index r = 0; r < count; ++r, to += q_row) {
    for (Index d = 0; d < q_row; d += kBf16Lanes) {
      const auto exist = static_cast<__mmask32>(first_bits(max(0, p.D - d)));
      _mm512_storeu_si512(to + d, _mm512_maskz_loadu_epi16(exist, q.get() + d));
    }
    if (first + r + 1 < p.rows()) q.next();
  }
}

}  // namespace grouphead::kernels::HWY_NAMESPACE
HWY_POP_ATTRIBUTES

#endif
