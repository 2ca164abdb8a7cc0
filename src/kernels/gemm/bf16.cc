#include "kernels/gemm/bf16.h"

#include "kernels/cpu/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/gemm/bf16.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#if HWY_TARGET == HWY_AVX3
#include "kernels/gemm/packing_bf16-inl.h"
#include "kernels/gemm/vdpbf16-inl.h"

namespace grouphead::kernels::HWY_NAMESPACE {

const Bf16Products& bf16_products_table() noexcept {
  static constexpr Bf16Products kTable = {pack_right, pack_right_transposed, transpose_left,
                                          multiply_by_vectors};
  return kTable;
}

}  // namespace grouphead::kernels::HWY_NAMESPACE
#endif

#if HWY_ONCE
namespace grouphead::kernels {

const Bf16Products* bf16_products([[maybe_unused]] Level level) noexcept {
#if HWY_TARGETS & HWY_AVX3
  if (level == Level::avx3_bf16) return &N_AVX3::bf16_products_table();
  if (level == Level::avx3_amx && level_available(level)) return amx_products();
#endif
  return nullptr;
}

}  // namespace grouphead::kernels
#endif
