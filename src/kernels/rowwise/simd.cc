#include "kernels/cpu/targets.h"
#include "kernels/rowwise/reference.h"
#include "kernels/rowwise/rowwise.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/rowwise/simd.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/rowwise/arithmetic-inl.h"
#include "kernels/rowwise/dropout-inl.h"
#include "kernels/rowwise/loss-inl.h"
#include "kernels/rowwise/normalization-inl.h"
#include "kernels/rowwise/rope-inl.h"

#if GROUPHEAD_TARGET_IS_LEVEL
HWY_BEFORE_NAMESPACE();
namespace grouphead::kernels::HWY_NAMESPACE {

const RowwiseKernels<float>& elementwise_table() noexcept {
  static constexpr RowwiseKernels<float> kTable = {
      .layer_norm_forward = layer_norm_forward,
      .layer_norm_backward = layer_norm_backward,
      .gelu_forward = gelu_forward,
      .gelu_backward = gelu_backward,
      .add = add,
      .scale = scale,
      .sum_of_squares = sum_of_squares,
      .dropout = dropout,
      .adamw = adamw,
      .embedding_backward = embedding_backward,
      .rope_half = rope_half,
      .rope_interleaved = rope_interleaved,
      .cross_entropy_forward = cross_entropy_forward,
      .cross_entropy_backward = cross_entropy_backward,
  };
  return kTable;
}

}  // namespace grouphead::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif

#if HWY_ONCE
namespace grouphead::kernels {

template <>
const RowwiseKernels<float>& rowwise_kernels<float>(Level level) noexcept {
  GROUPHEAD_SELECT_TABLE(level, elementwise_table, rowwise_reference<float>())
}

template <>
const RowwiseKernels<double>& rowwise_kernels<double>(Level) noexcept {
  return rowwise_reference<double>();
}

}  // namespace grouphead::kernels
#endif
