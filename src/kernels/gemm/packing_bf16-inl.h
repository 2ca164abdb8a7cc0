// The packing of Bf16Products. Included for the target AVX3 alone.

#if defined(GROUPHEAD_KERNELS_GEMM_PACKING_BF16_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef GROUPHEAD_KERNELS_GEMM_PACKING_BF16_INL_H_
#undef GROUPHEAD_KERNELS_GEMM_PACKING_BF16_INL_H_
#else
#define GROUPHEAD_KERNELS_GEMM_PACKING_BF16_INL_H_
#endif

#include "kernels/gemm/bf16-inl.h"

HWY_PUSH_ATTRIBUTES(HWY_TARGET_STR ",avx512bf16,bmi2")
namespace grouphead::kernels::HWY_NAMESPACE {

static void pack_right(const U16* from, Index row, Index valid_rows, Index valid_columns,
                       Index depth, U16* to) noexcept {
  for (Index k = 0; k < depth; k += 2, to += kBf16Lanes) {
    const U16* first = k < valid_rows ? from + k * row : nullptr;
    const U16* second = k + 1 < valid_rows ? from + (k + 1) * row : nullptr;
    _mm512_storeu_si512(to, row_pairs(first, second, 0, valid_columns));
  }
}
static void pack_right_transposed(const U16* from, Index row, Index valid_rows, Index valid_columns,
                                  Index depth, U16* to) noexcept {
  pack_bf16_panel(from, row, valid_columns, valid_rows, depth, to);
}
static void transpose_left(const U16* from, Index row, Index width, U16* buffer, U16* to) noexcept {
  transpose_block(
      from, row, width, [](Index) { return true; }, buffer, to);
}

}  // namespace grouphead::kernels::HWY_NAMESPACE
HWY_POP_ATTRIBUTES

#endif
