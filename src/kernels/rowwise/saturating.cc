#include "kernels/rowwise/saturating.h"

#include <cmath>

#include "kernels/cpu/targets.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/rowwise/saturating.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/cpu/math-inl.h"

#if GROUPHEAD_TARGET_IS_LEVEL
HWY_BEFORE_NAMESPACE();
namespace grouphead::kernels::HWY_NAMESPACE {
namespace {

struct Sigmoid {
  HWY_INLINE Vector operator()(Vector x) const {
    const Vector one = set(1.0F);
    return hn::Div(one, hn::Add(one, exp(hn::Neg(x))));
  }
};
void sigmoid(const float* x, Index count, float* y) noexcept { map(x, count, y, Sigmoid{}); }

struct Tanh {
  HWY_INLINE Vector operator()(Vector x) const { return HWY_NAMESPACE::tanh(x); }
};
void tanh(const float* x, Index count, float* y) noexcept { map(x, count, y, Tanh{}); }

}  // namespace

const SaturatingKernels& saturating_table() noexcept {
  static constexpr SaturatingKernels kTable = {.sigmoid = sigmoid, .tanh = tanh};
  return kTable;
}

}  // namespace grouphead::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif

#if HWY_ONCE
namespace grouphead::kernels {
namespace {

void sigmoid_reference(const float* x, Index count, float* y) noexcept {
  for (Index i = 0; i < count; ++i) y[i] = 1 / (1 + std::exp(-x[i]));
}
void tanh_reference(const float* x, Index count, float* y) noexcept {
  for (Index i = 0; i < count; ++i) y[i] = std::tanh(x[i]);
}

constexpr SaturatingKernels kReference = {.sigmoid = sigmoid_reference, .tanh = tanh_reference};

}  // namespace

const SaturatingKernels& saturating_kernels(Level level) noexcept {
  GROUPHEAD_SELECT_TABLE(level, saturating_table, kReference)
}

}  // namespace grouphead::kernels
#endif
