#include "kernels/attention/int8_products.h"

#include "kernels/cpu/targets.h"

#if HWY_TARGETS & HWY_AVX3
#include "kernels/cpu/intrinsics.h"

HWY_PUSH_ATTRIBUTES("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")
namespace grouphead::kernels {

// Words of even and odd places apart: eight chains hide the latency of five.
void int8_products_vnni(const std::uint8_t* tile, const std::int8_t* queries, Index words,
                        Index ahead, std::int32_t* to) noexcept {
  constexpr int kRows = static_cast<int>(kInt8Rows);
  const auto query = [&](int i, Index d) {
    std::int32_t four = 0;
    __builtin_memcpy(&four, queries + (i * words + d) * 4, 4);
    return four;
  };
  for (Index j = 0; j < kPackKeys; j += kPanelKeys) {
    const std::uint8_t* panel = tile + 4 * j * words;
    __m512i even[kRows];
    __m512i odd[kRows];
#pragma GCC unroll 4
    for (int i = 0; i < kRows; ++i) even[i] = odd[i] = _mm512_setzero_si512();
    for (Index d = 0; d < words; d += 2) {  // words come in fours
      if (ahead != 0) {
        __builtin_prefetch(panel + 64 * d + ahead, 0, 2);
        __builtin_prefetch(panel + 64 * (d + 1) + ahead, 0, 2);
      }
      const __m512i x = _mm512_loadu_si512(panel + 64 * d);
      const __m512i y = _mm512_loadu_si512(panel + 64 * (d + 1));
#pragma GCC unroll 4
      for (int i = 0; i < kRows; ++i) {
        even[i] = _mm512_dpbusd_epi32(even[i], x, _mm512_set1_epi32(query(i, d)));
        odd[i] = _mm512_dpbusd_epi32(odd[i], y, _mm512_set1_epi32(query(i, d + 1)));
      }
    }
#pragma GCC unroll 4
    for (int i = 0; i < kRows; ++i) {
      _mm512_storeu_si512(to + i * kPackKeys + j, _mm512_add_epi32(even[i], odd[i]));
    }
  }
}

}  // namespace grouphead::kernels
HWY_POP_ATTRIBUTES
#endif

#if GROUPHEAD_HAS_ARM_EXTENSIONS
#include <arm_neon.h>

HWY_PUSH_ATTRIBUTES("arch=armv8.2-a+dotprod")
namespace grouphead::kernels {
namespace {

constexpr int kRows = static_cast<int>(kInt8Rows);
constexpr int kVectors = 4;  // of a panel's 16 keys

// One word of each key times word kWord of the four in `queries`: 16 chains.
template <int kWord>
HWY_INLINE void add_word(const std::uint8_t* keys, const int8x16_t (&queries)[kRows],
                         int32x4_t (&sums)[kRows][kVectors]) noexcept {
  const uint8x16_t zero = vdupq_n_u8(kCacheZero);
#pragma GCC unroll 4
  for (int n = 0; n < kVectors; ++n) {
    const int8x16_t x = vreinterpretq_s8_u8(veorq_u8(vld1q_u8(keys + 16 * n), zero));
#pragma GCC unroll 4
    for (int i = 0; i < kRows; ++i) {
      sums[i][n] = vdotq_laneq_s32(sums[i][n], x, queries[i], kWord);
    }
  }
}

}  // namespace

void int8_products_sdot(const std::uint8_t* tile, const std::int8_t* queries, Index words, Index,
                        std::int32_t* to) noexcept {
  std::int32_t missing[kRows];
  for (int i = 0; i < kRows; ++i) missing[i] = missing_products(queries + i * words * 4, words);
  const std::uint8_t* keys = tile;
  for (Index j = 0; j < kPackKeys; j += kPanelKeys) {
    int32x4_t sums[kRows][kVectors];
#pragma GCC unroll 4
    for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
      for (int n = 0; n < kVectors; ++n) sums[i][n] = vdupq_n_s32(missing[i]);
    }
    for (Index d = 0; d < words; d += 4, keys += 16 * kPanelKeys) {  // words come in fours
      int8x16_t four[kRows];
#pragma GCC unroll 4
      for (int i = 0; i < kRows; ++i) four[i] = vld1q_s8(queries + (i * words + d) * 4);
      add_word<0>(keys, four, sums);
      add_word<1>(keys + 4 * kPanelKeys, four, sums);
      add_word<2>(keys + 8 * kPanelKeys, four, sums);
      add_word<3>(keys + 12 * kPanelKeys, four, sums);
    }
#pragma GCC unroll 4
    for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
      for (int n = 0; n < kVectors; ++n) vst1q_s32(to + i * kPackKeys + j + 4 * n, sums[i][n]);
    }
  }
}

}  // namespace grouphead::kernels
HWY_POP_ATTRIBUTES
#endif

namespace grouphead::kernels {

Int8Products int8_instruction() noexcept {
#if HWY_TARGETS & HWY_AVX3
  if (has_vpdpbusd()) return int8_products_vnni;
#endif
#if GROUPHEAD_HAS_ARM_EXTENSIONS
  if (has_sdot()) return int8_products_sdot;
#endif
  return nullptr;
}

}  // namespace grouphead::kernels
