#include "kernels/cpu/targets.h"
#include "kernels/gemm/bf16.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/gemm/amx.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#if HWY_TARGET == HWY_AVX3
#include "kernels/gemm/amx-inl.h"
#include "kernels/gemm/packing_bf16-inl.h"

HWY_PUSH_ATTRIBUTES(HWY_TARGET_STR ",avx512bf16,amx-tile,amx-bf16")
namespace grouphead::kernels::HWY_NAMESPACE {
namespace {

void multiply(const Bf16Left& a, const Bf16Right& b, Index rows, Index columns, Index depth,
              bool add, float* c, Index c_row) noexcept {
  const AmxTiles tiles;
  multiply_by_tiles(a, b, rows, columns, depth, add, c, c_row);
}

}  // namespace

const Bf16Products& amx_products_table() noexcept {
  static constexpr Bf16Products kTable = {pack_right, pack_right_transposed, transpose_left,
                                          multiply};
  return kTable;
}

}  // namespace grouphead::kernels::HWY_NAMESPACE
HWY_POP_ATTRIBUTES
#endif

#if HWY_ONCE
namespace grouphead::kernels {

const Bf16Products* amx_products() noexcept {
#if HWY_TARGETS & HWY_AVX3
  return &N_AVX3::amx_products_table();
#else
  return nullptr;
#endif
}

}  // namespace grouphead::kernels
#endif
