// Products of bf16 values by vdpbf16ps: the multiply of Bf16Products, of attention too.
// Included for the target AVX3 alone.

#if defined(GROUPHEAD_KERNELS_GEMM_VDPBF16_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef GROUPHEAD_KERNELS_GEMM_VDPBF16_INL_H_
#undef GROUPHEAD_KERNELS_GEMM_VDPBF16_INL_H_
#else
#define GROUPHEAD_KERNELS_GEMM_VDPBF16_INL_H_
#endif

#include "kernels/gemm/bf16-inl.h"

HWY_PUSH_ATTRIBUTES(HWY_TARGET_STR ",avx512bf16,bmi2")
namespace grouphead::kernels::HWY_NAMESPACE {

static HWY_INLINE __m512bh load_pairs(const U16* at) noexcept {
  return reinterpret_cast<__m512bh>(_mm512_loadu_si512(at));
}
// Two values in every 32-bit lane.
static HWY_INLINE __m512bh pair_at(const U16* at) noexcept {
  std::int32_t both = 0;
  __builtin_memcpy(&both, at, 4);
  return reinterpret_cast<__m512bh>(_mm512_set1_epi32(both));
}

// c += a b for R rows and V vectors of columns, or c = a b.
template <int R, int V>
static HWY_NOINLINE void bf16_product(const Bf16Left& a, const Bf16Right& b, Index depth, bool add,
                                      float* c, Index c_row) noexcept {
  __m512 sums[R][V];
  HWY_UNROLL(16)
  for (int i = 0; i < R; ++i) {
    HWY_UNROLL(16)
    for (int n = 0; n < V; ++n) {
      sums[i][n] = add ? _mm512_loadu_ps(c + i * c_row + n * 16) : _mm512_setzero_ps();
    }
  }
  const U16* right = b.data;
  for (Index block = 0; block < depth / kBf16Lanes; ++block) {
    const U16* left = a.data + block * a.block;
    for (Index k = 0; k < kBf16Lanes; k += 2, left += 2, right += b.step) {
      __m512bh x[V];
      HWY_UNROLL(16)
      for (int n = 0; n < V; ++n) x[n] = load_pairs(right + n * b.panel);
      HWY_UNROLL(16)
      for (int i = 0; i < R; ++i) {
        const __m512bh y = pair_at(left + i * a.row);
        HWY_UNROLL(16)
        for (int n = 0; n < V; ++n) sums[i][n] = _mm512_dpbf16_ps(sums[i][n], y, x[n]);
      }
    }
  }
  HWY_UNROLL(16)
  for (int i = 0; i < R; ++i) {
    HWY_UNROLL(16)
    for (int n = 0; n < V; ++n) _mm512_storeu_ps(c + i * c_row + n * 16, sums[i][n]);
  }
}

// See Bf16Products. 24 sums in registers, or 16 where four vectors are left.
[[maybe_unused]] static void multiply_by_vectors(const Bf16Left& a, const Bf16Right& b, Index rows,
                                                 Index columns, Index depth, bool add, float* c,
                                                 Index c_row) noexcept {
  constexpr Index kTall = 8;
  for (Index x = 0; x < columns;) {
    const Index left = (columns - x) / 16;
    const Index vectors = left == 4 ? 2 : min(left, 3);
    const auto tile = vectors == 3   ? bf16_product<kTall, 3>
                      : vectors == 2 ? bf16_product<kTall, 2>
                                     : bf16_product<kTall, 1>;
    for (Index i = 0; i < rows; i += kTall) {
      tile({a.data + i * a.row, a.row, a.block}, {b.data + x / 16 * b.panel, b.step, b.panel},
           depth, add, c + i * c_row + x, c_row);
    }
    x += vectors * 16;
  }
}

}  // namespace grouphead::kernels::HWY_NAMESPACE
HWY_POP_ATTRIBUTES

#endif
