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
