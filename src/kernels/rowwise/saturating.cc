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

// t / (t + 2) with t = e^(2 |x|) - 1 = 2^n (e^r - 1) + (2^n - 1), without a difference of near
// numbers where x is small. The sign is x's.
struct Tanh {
  HWY_INLINE Vector operator()(Vector x) const {
    const Vector two = set(2.0F);
    const Vector u = hn::Min(set(20.0F), hn::Mul(two, hn::Abs(x)));  // 1 from there on; NaN stays
    const Vector n = hn::Round(hn::Mul(u, set(1.44269504F)));
    const Vector r = hn::NegMulAdd(n, set(-2.12194440e-4F), hn::NegMulAdd(n, set(0.693359375F), u));
    Vector q = hn::MulAdd(set(0.001381454058F), r, set(0.008368745446F));
    q = hn::MulAdd(q, r, set(0.04166838899F));
    q = hn::MulAdd(q, r, set(0.1666652113F));
    q = hn::MulAdd(q, r, set(0.4999999404F));
    const Vector less_one = hn::MulAdd(hn::Mul(r, r), q, r);
    const Vector power = scale_by_power(set(1.0F), n);
    const Vector t = hn::MulAdd(power, less_one, hn::Sub(power, set(1.0F)));
    return hn::CopySign(hn::Div(t, hn::Add(t, two)), x);
  }
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
