#include "kernels/attention/cache.h"
#include "kernels/attention/cache_reference.h"
#include "kernels/attention/problem.h"
#include "kernels/attention/reference.h"
#include "kernels/cpu/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/attention/simd.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#if GROUPHEAD_TARGET_IS_LEVEL
#include "kernels/attention/backward-inl.h"
#include "kernels/attention/cache_decode-inl.h"
#include "kernels/attention/decode-inl.h"
#include "kernels/attention/scores-inl.h"

HWY_BEFORE_NAMESPACE();
namespace grouphead::kernels::HWY_NAMESPACE {

const AttentionKernels<float>& attention_table() noexcept {
  static constexpr AttentionKernels<float> kTable = {
      .pack = pack_unit,
      .forward_scratch = forward_scratch,
      .forward = forward_unit,
      .scores_scratch = scores_scratch,
      .scores = scores,
      .decode_scratch = decode_scratch,
      .decode = decode_unit,
      .decode_merge = decode_merge,
      .gradient_delta = gradient_delta,
      .gradient_scores = gradient_scores,
      .gradient_scratch = gradient_scratch,
      .gradient_begin = gradient_begin,
      .gradient_block = gradient_block,
      .gradient_add = gradient_add,
      .gradient_add_bias = gradient_add_bias,
      .gradient_end = gradient_end,
  };
  return kTable;
}

const CacheKernels& bf16_cache_table() noexcept { return cache_table<Bf16Tiles>(); }
const CacheKernels& int8_cache_table() noexcept { return cache_table<PlainInt8Tiles>(); }
Int8Products int8_products_table() noexcept { return int8_products; }
#if HWY_TARGET == HWY_AVX3
const CacheKernels& vnni_cache_table() noexcept { return cache_table<VnniTiles>(); }
#elif HWY_TARGET == HWY_NEON && GROUPHEAD_HAS_ARM_EXTENSIONS
const CacheKernels& sdot_cache_table() noexcept { return cache_table<SdotTiles>(); }
#endif

}  // namespace grouphead::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif

#if HWY_ONCE
namespace grouphead::kernels {

template <>
const AttentionKernels<float>& attention_kernels<float>(Level level) noexcept {
  GROUPHEAD_SELECT_TABLE(level, attention_table, attention_reference<float>())
}

template <>
const AttentionKernels<double>& attention_kernels<double>(Level) noexcept {
  return attention_reference<double>();
}

namespace {

const CacheKernels& bf16_cache(Level level) noexcept {
  GROUPHEAD_SELECT_TABLE(level, bf16_cache_table, cache_reference())
}
const CacheKernels& int8_cache(Level level) noexcept {
#if HWY_TARGETS & HWY_AVX3
  if (level >= Level::avx3 && has_vpdpbusd()) return N_AVX3::vnni_cache_table();
#endif
#if GROUPHEAD_HAS_ARM_EXTENSIONS
  if (level == Level::neon && has_sdot()) return N_NEON::sdot_cache_table();
#endif
  GROUPHEAD_SELECT_TABLE(level, int8_cache_table, cache_reference())
}

}  // namespace

const CacheKernels& cache_kernels(Level level, CacheFormat format) noexcept {
  return format == CacheFormat::bf16 ? bf16_cache(level) : int8_cache(level);
}

Int8Products int8_substitute(Level level) noexcept {
  GROUPHEAD_SELECT_TABLE(level, int8_products_table, nullptr)
}

}  // namespace grouphead::kernels
#endif
