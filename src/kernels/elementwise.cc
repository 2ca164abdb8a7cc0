#include "kernels/elementwise.h"

#include "kernels/elementwise_reference.h"
#include "kernels/targets.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/elementwise.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/arithmetic-inl.h"
#include "kernels/dropout-inl.h"
#include "kernels/loss-inl.h"
#include "kernels/normalization-inl.h"
#include "kernels/rope-inl.h"

#if GROUPHEAD_TARGET_IS_LEVEL
HWY_BEFORE_NAMESPACE();
namespace grouphead::kernels::HWY_NAMESPACE {

const ElementwiseKernels<float>& elementwise_table() noexcept {
  static constexpr ElementwiseKernels<float> kTable = {
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
const ElementwiseKernels<float>& elementwise_kernels<float>(Level level) noexcept {
  GROUPHEAD_SELECT_TABLE(level, elementwise_table, elementwise_reference<float>())
}

template <>
const ElementwiseKernels<double>& elementwise_kernels<double>(Level) noexcept {
  return elementwise_reference<double>();
}

}  // namespace grouphead::kernels
#endif
