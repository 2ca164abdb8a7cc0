// Per-target: softmax cross-entropy, forward and backward.

#if defined(GROUPHEAD_KERNELS_LOSS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef GROUPHEAD_KERNELS_LOSS_INL_H_
#undef GROUPHEAD_KERNELS_LOSS_INL_H_
#else
#define GROUPHEAD_KERNELS_LOSS_INL_H_
#endif

#include <cmath>
#include <limits>

#include "kernels/cpu/math-inl.h"

#if GROUPHEAD_TARGET_IS_LEVEL
HWY_BEFORE_NAMESPACE();
namespace grouphead::kernels::HWY_NAMESPACE {

// exp(x - shift)
struct ShiftedExp {
  const float* x;
  Vector shift;
  HWY_INLINE Vector operator()(Index i, Index n) const {
    return exp(hn::Sub(load(x + i, n), shift));
  }
};

// A NaN logit may be lost in the maximum: it enters by the sum.
inline double cross_entropy_forward(const float* logits, const std::int32_t* labels, Index rows,
                                    Index width, float* lse) noexcept {
  const Vector lowest = set(-std::numeric_limits<float>::infinity());
  double loss = 0;
  for (Index r = 0; r < rows; ++r, logits += width) {
    const Vector max = hn::MaxOfLanes(kFloats, fold(width, lowest, Max{}, Elements{logits}));
    const double total = sum(width, ShiftedExp{logits, max});
    const double log_sum_exp = hn::GetLane(max) + std::log(total);
    if (lse != nullptr) lse[r] = static_cast<float>(log_sum_exp);
    loss += log_sum_exp - logits[labels[r]];
  }
  return loss;
}

struct Softmax {
  Vector lse, scale;
  HWY_INLINE Vector operator()(Vector x) const { return hn::Mul(exp(hn::Sub(x, lse)), scale); }
};

inline void cross_entropy_backward(const float* logits, const std::int32_t* labels,
                                   const float* lse, float scale, Index rows, Index width,
                                   float* d_logits) noexcept {
  for (Index r = 0; r < rows; ++r, logits += width, d_logits += width) {
    map(logits, width, d_logits, Softmax{set(lse[r]), set(scale)});
    d_logits[labels[r]] -= scale;
  }
}

}  // namespace grouphead::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif  // GROUPHEAD_TARGET_IS_LEVEL

#endif  // per-target include guard
