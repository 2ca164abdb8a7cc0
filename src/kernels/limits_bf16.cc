#include "kernels/limits.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace grouphead::kernels {
namespace {

#if defined(__x86_64__)

constexpr int kChains = 16;
constexpr int kRepeats = 8;
constexpr std::int64_t kFlopsPerInstruction = 64;  // 16 sums of two products

__attribute__((target("avx512f,avx512bf16"))) float multiply_add(std::int64_t laps) noexcept {
  __m512 chain[kChains];
#pragma GCC unroll 16
  for (int i = 0; i < kChains; ++i) chain[i] = _mm512_set1_ps(static_cast<float>(i));
  const __m512 half = _mm512_set1_ps(0.5F);
  const __m512bh factor = _mm512_cvtne2ps_pbh(half, half);
  for (std::int64_t lap = 0; lap < laps; ++lap) {
#pragma GCC unroll 8
    for (int r = 0; r < kRepeats; ++r) {
#pragma GCC unroll 16
      for (int i = 0; i < kChains; ++i) chain[i] = _mm512_dpbf16_ps(chain[i], factor, factor);
    }
  }
#pragma GCC unroll 16
  for (int i = 1; i < kChains; ++i) chain[0] = _mm512_add_ps(chain[0], chain[i]);
  float lanes[16];
  _mm512_storeu_ps(lanes, chain[0]);
  float total = 0;
  for (const float lane : lanes) total += lane;
  return total;
}

constexpr MultiplyAddLimit kLimit = {kFlopsPerInstruction * kChains * kRepeats, multiply_add};

#endif

}  // namespace

const MultiplyAddLimit* bf16_limit() noexcept {
#if defined(__x86_64__)
  if (level_available(Level::avx3_bf16)) return &kLimit;
#endif
  return nullptr;
}

}  // namespace grouphead::kernels
