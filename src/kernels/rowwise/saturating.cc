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

/// The sigmoid at x and at -x, each with its relative accuracy.
struct Sides {
  Vector here, opposite;
};
HWY_INLINE Sides sides_of(Vector x) {
  const Vector one = set(1.0F);
  const Vector e = exp(hn::Neg(hn::Abs(x)));
  const Vector large = hn::Div(one, hn::Add(one, e));
  const Vector small = hn::Mul(e, large);
  const auto is_positive = hn::Gt(x, hn::Zero(kFloats));
  return {hn::IfThenElse(is_positive, large, small), hn::IfThenElse(is_positive, small, large)};
}

struct SigmoidGradient {
  HWY_INLINE Vector operator()(Vector x, Vector d_y) const {
    const Sides s = sides_of(x);
    return hn::Mul(d_y, hn::Mul(s.here, s.opposite));
  }
};
void sigmoid_gradient(const float* x, const float* d_y, Index count, float* d_x) noexcept {
  map_pairs(x, d_y, count, d_x, SigmoidGradient{});
}

// 1 - tanh^2, which is four times the sigmoid's gradient at 2 x.
struct TanhGradient {
  HWY_INLINE Vector operator()(Vector x, Vector d_y) const {
    const Sides s = sides_of(hn::Add(x, x));
    return hn::Mul(d_y, hn::Mul(set(4.0F), hn::Mul(s.here, s.opposite)));
  }
};
void tanh_gradient(const float* x, const float* d_y, Index count, float* d_x) noexcept {
  map_pairs(x, d_y, count, d_x, TanhGradient{});
}

struct Silu {
  HWY_INLINE Vector operator()(Vector x) const { return hn::Mul(x, sides_of(x).here); }
};
void silu(const float* x, Index count, float* y) noexcept { map(x, count, y, Silu{}); }

struct SiluGradient {
  HWY_INLINE Vector operator()(Vector x, Vector d_y) const {
    const Sides s = sides_of(x);
    return hn::Mul(d_y, hn::Mul(s.here, hn::MulAdd(x, s.opposite, set(1.0F))));
  }
};
void silu_gradient(const float* x, const float* d_y, Index count, float* d_x) noexcept {
  map_pairs(x, d_y, count, d_x, SiluGradient{});
}

// x sigmoid(u) with u = 2 sqrt(2 / pi) (x + 0.044715 x^3).
constexpr float kGeluSlope = 1.59576912F;
constexpr float kGeluCubic = 0.044715F;

HWY_INLINE Vector gelu_argument(Vector x, Vector square) {
  const Vector factor = hn::MulAdd(set(kGeluCubic), square, set(1.0F));
  return hn::Mul(hn::Mul(set(kGeluSlope), x), factor);
}

struct GeluTanh {
  HWY_INLINE Vector operator()(Vector x) const {
    return hn::Mul(x, sides_of(gelu_argument(x, hn::Mul(x, x))).here);
  }
};
void gelu_tanh(const float* x, Index count, float* y) noexcept { map(x, count, y, GeluTanh{}); }

struct GeluTanhGradient {
  HWY_INLINE Vector operator()(Vector x, Vector d_y) const {
    // From 30 on either side the function is x or 0, and squares do not overflow.
    const Vector near = at_most(set(30.0F), at_least(set(-30.0F), x));
    const Vector square = hn::Mul(near, near);
    const Sides s = sides_of(gelu_argument(near, square));
    const Vector slope =
        hn::Mul(set(kGeluSlope), hn::MulAdd(set(3 * kGeluCubic), square, set(1.0F)));
    const Vector along = hn::Mul(hn::Mul(near, slope), s.opposite);
    return hn::Mul(d_y, hn::Mul(s.here, hn::Add(set(1.0F), along)));
  }
};
void gelu_tanh_gradient(const float* x, const float* d_y, Index count, float* d_x) noexcept {
  map_pairs(x, d_y, count, d_x, GeluTanhGradient{});
}

}  // namespace

const SaturatingKernels& saturating_table() noexcept {
  static constexpr SaturatingKernels kTable = {.sigmoid = sigmoid,
                                               .tanh = tanh,
                                               .silu = silu,
                                               .gelu_tanh = gelu_tanh,
                                               .sigmoid_gradient = sigmoid_gradient,
                                               .tanh_gradient = tanh_gradient,
                                               .silu_gradient = silu_gradient,
                                               .gelu_tanh_gradient = gelu_tanh_gradient};
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

constexpr SaturatingKernels kReference = {.sigmoid = sigmoid_reference,
                                          .tanh = tanh_reference,
                                          .silu = nullptr,
                                          .gelu_tanh = nullptr,
                                          .sigmoid_gradient = nullptr,
                                          .tanh_gradient = nullptr,
                                          .silu_gradient = nullptr,
                                          .gelu_tanh_gradient = nullptr};

}  // namespace

const SaturatingKernels& saturating_kernels(Level level) noexcept {
  GROUPHEAD_SELECT_TABLE(level, saturating_table, kReference)
}

}  // namespace grouphead::kernels
#endif
