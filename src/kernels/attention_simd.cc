#include "kernels/attention.h"
#include "kernels/attention_reference.h"
#include "kernels/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/attention_simd.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#if GROUPHEAD_TARGET_IS_LEVEL
#include "kernels/attention_backward-inl.h"
#include "kernels/attention_decode-inl.h"
#include "kernels/attention_scores-inl.h"

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

}  // namespace grouphead::kernels
#endif
