// Factors of products on bf16 values: how rows become pairs, panels and columns. Included for the
// target AVX3 alone, by processors' instructions for bf16.

#if defined(GROUPHEAD_KERNELS_GEMM_BF16_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef GROUPHEAD_KERNELS_GEMM_BF16_INL_H_
#undef GROUPHEAD_KERNELS_GEMM_BF16_INL_H_
#else
#define GROUPHEAD_KERNELS_GEMM_BF16_INL_H_
#endif

#include "kernels/attention/tiles-inl.h"
#include "kernels/cpu/intrinsics.h"
#include "kernels/gemm/bf16.h"

HWY_PUSH_ATTRIBUTES(HWY_TARGET_STR ",avx512bf16,bmi2")
namespace grouphead::kernels::HWY_NAMESPACE {

using U16 = std::uint16_t;
constexpr Index kBf16Lanes = 32;  // of a register
static_assert(kBf16Depth == kBf16Lanes && kBf16Columns == kPanelKeys);

// Bits [0, count) of a mask, for 32 at most.
static HWY_INLINE std::uint32_t first_bits(Index count) noexcept {
  return _bzhi_u32(0xFFFFFFFFU, static_cast<unsigned>(min(32, count)));
}

// The values d .. d + 15 of two rows of n, in pairs; zeros behind n and where a row is null.
static HWY_INLINE __m512i row_pairs(const U16* first, const U16* second, Index d,
                                    Index n) noexcept {
  const auto exist = static_cast<__mmask16>(first_bits(n - d));
  const auto load = [&](const U16* from) {
    if (from == nullptr) return _mm512_setzero_si512();
    return _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(exist, from + d));
  };
  return _mm512_or_si512(load(first), _mm512_slli_epi32(load(second), 16));
}

// A panel [row / 2][16][2] of 16 rows of D at distances of `time`, zeros from row `valid` on.
static HWY_INLINE void pack_bf16_panel(const U16* from, Index time, Index valid, Index D, Index row,
                                       U16* to) noexcept {
  Index d = 0;
  if (valid >= kPanelKeys && time % 2 == 0 && D % 8 == 0) {  // pairs are moved like floats
    pack_panel(reinterpret_cast<const float*>(from), time / 2, 0, kPanelKeys, D / 2,
               reinterpret_cast<float*>(to));
    d = D;
  }
  for (; d < row; ++d) {
    for (Index j = 0; j < kPanelKeys; ++j) {
      const bool exists = d < D && j < valid;
      to[d / 2 * 2 * kPanelKeys + j * 2 + d % 2] = exists ? from[j * time + d] : U16{0};
    }
  }
}

// to [width][32] = 32 rows of `width` values, transposed; a row that `take` refuses as zeros.
// `pairs`: 32 width elements.
template <class Take>
static HWY_INLINE void transpose_block(const U16* from, Index row, Index width, const Take& take,
                                       U16* pairs, U16* to) noexcept {
  for (Index i = 0; i < kBf16Lanes; i += 2) {
    const U16* first = take(i) ? from + i * row : nullptr;
    const U16* second = take(i + 1) ? from + (i + 1) * row : nullptr;
    for (Index d = 0; d < width; d += kPanelKeys) {
      _mm512_storeu_si512(pairs + (i / 2 * width + d) * 2, row_pairs(first, second, d, width));
    }
  }
  // Two rows side by side are moved like floats.
  pack_panel(reinterpret_cast<const float*>(pairs), width, 0, kPanelKeys, width,
             reinterpret_cast<float*>(to));
}

}  // namespace grouphead::kernels::HWY_NAMESPACE
HWY_POP_ATTRIBUTES

#endif
