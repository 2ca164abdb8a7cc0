#include "kernels/attention.h"
#include "kernels/attention_reference.h"
#include "kernels/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/attention_simd.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#if GROUPHEAD_TARGET_IS_LEVEL
#include "kernels/attention_decode-inl.h"

HWY_BEFORE_NAMESPACE();
namespace grouphead::kernels::HWY_NAMESPACE {

const AttentionKernels<float>& attention_table() noexcept {
  static const AttentionKernels<float> kTable = [] {
    AttentionKernels<float> t = attention_reference<float>();
    t.pack = pack_unit;
    t.forward_scratch = forward_scratch;
    t.forward = forward_unit;
    t.decode_scratch = decode_scratch;
    t.decode = decode_unit;
    t.decode_merge = decode_merge;
    return t;
  }();
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
