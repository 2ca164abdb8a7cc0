// Per-target: exponentials and the normal distribution of f32 vectors.

#if defined(GROUPHEAD_KERNELS_MATH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef GROUPHEAD_KERNELS_MATH_INL_H_
#undef GROUPHEAD_KERNELS_MATH_INL_H_
#else
#define GROUPHEAD_KERNELS_MATH_INL_H_
#endif

#include "kernels/cpu/lanes-inl.h"

#if GROUPHEAD_TARGET_IS_LEVEL
HWY_BEFORE_NAMESPACE();
namespace grouphead::kernels::HWY_NAMESPACE {

/// p 2^n for whole n in [-256, 256]; numbers below the normal range are rounded once.
HWY_INLINE Vector scale_by_power(Vector p, Vector n) {
#if HWY_TARGET == HWY_AVX3
  return Vector{_mm512_scalef_ps(p.raw, n.raw)};
#else  // in two halves, each a normal number
  const hn::RebindToSigned<Floats> di;
  const auto all = hn::ConvertTo(di, n);
  const auto half = hn::ShiftRight<1>(all);
  const auto bias = hn::Set(di, 127);
  const auto first = hn::ShiftLeft<23>(hn::Add(half, bias));
  const auto second = hn::ShiftLeft<23>(hn::Add(hn::Sub(all, half), bias));
  return hn::Mul(hn::Mul(p, hn::BitCast(kFloats, first)), hn::BitCast(kFloats, second));
#endif
}

/// e^r 2^n for |r| <= ln 2 / 2. e^r = 1 + r + r^2 q(r); q of degree 4 is a minimax fit (weighted
/// least squares until the errors level out), relative error 3.1e-9: rounding is what remains.
HWY_INLINE Vector exp_reduced(Vector r, Vector n) {
  Vector p = hn::MulAdd(set(0.001381454058F), r, set(0.008368745446F));
  p = hn::MulAdd(p, r, set(0.04166838899F));
  p = hn::MulAdd(p, r, set(0.1666652113F));
  p = hn::MulAdd(p, r, set(0.4999999404F));
  p = hn::MulAdd(p, r, set(1.0F));
  p = hn::MulAdd(p, r, set(1.0F));
  return scale_by_power(p, n);
}

/// e^x with a relative error of 1.3 * 2^-24 where the result is a normal number. -inf gives 0, NaN
/// stays.
HWY_INLINE Vector exp(Vector x) {
  x = at_most(set(89.0F), at_least(set(-104.0F), x));  // beyond: infinity and 0
  const Vector n = hn::Round(hn::Mul(x, set(1.44269504F)));
  // ln 2 in two parts; n times the first one is exact.
  const Vector r = hn::NegMulAdd(n, set(0.693359375F), x);
  return exp_reduced(hn::NegMulAdd(n, set(-2.12194440e-4F), r), n);
}

/// 2^x for x <= 0 by 2^floor(x) times a minimax polynomial for the rest: 2.4 units of rounding at
/// most, 2^0 = 1 exactly, below -126 (AVX3: -149) zero, of -inf too; NaN stays.
HWY_INLINE Vector exp2_neg(Vector x) {
#if HWY_TARGET == HWY_AVX3
  const Vector f{_mm512_reduce_ps(x.raw, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC)};
#else
  x = at_least(hn::Set(kFloats, -127.0F), x);
  const Vector floor = hn::Floor(x);
  const Vector f = hn::Sub(x, floor);
#endif
  Vector p = hn::MulAdd(hn::Set(kFloats, 0.00186713005F), f, hn::Set(kFloats, 0.00901703071F));
  p = hn::MulAdd(p, f, hn::Set(kFloats, 0.0557999127F));
  p = hn::MulAdd(p, f, hn::Set(kFloats, 0.240164444F));
  p = hn::MulAdd(p, f, hn::Set(kFloats, 0.693151295F));
  p = hn::MulAdd(p, f, hn::Set(kFloats, 1.0F));
#if HWY_TARGET == HWY_AVX3
  return Vector{_mm512_scalef_ps(p.raw, x.raw)};  // p 2^floor(x)
#else
  const hn::RebindToSigned<Floats> integers;
  const auto exponent = hn::Add(hn::ConvertTo(integers, floor), hn::Set(integers, 127));
  return hn::Mul(p, hn::BitCast(kFloats, hn::ShiftLeft<23>(exponent)));
#endif
}

/// tanh(x): below 0.625 an odd polynomial (minimax fit, relative error 4e-9), above it
/// (1 - e) / (1 + e) with e = exp(-2 |x|). NaN stays; the sign is x's, of 0 too.
HWY_INLINE Vector tanh(Vector x) {
  const Vector z = hn::Mul(x, x);
  Vector p = hn::MulAdd(set(-5.717042834e-03F), z, set(2.065058611e-02F));
  p = hn::MulAdd(p, z, set(-5.374349654e-02F));
  p = hn::MulAdd(p, z, set(1.333149076e-01F));
  p = hn::MulAdd(p, z, set(-3.333328366e-01F));
  const Vector near = hn::MulAdd(hn::Mul(x, z), p, x);
  const Vector one = set(1.0F);
  const Vector e = exp2_neg(hn::Mul(set(-2.88539008F), hn::Abs(x)));
  const Vector far = hn::Div(hn::Sub(one, e), hn::Add(one, e));
  const hn::Vec<Floats> sign = x;
  return hn::CopySign(hn::IfThenElse(hn::Lt(hn::Abs(x), set(0.625F)), near, far), sign);
}

/// cap tanh(x / cap) for a cap above 0, `inverse` 1 / cap: x P(z) / Q(z) with z = (x / cap)^2, a
/// minimax fit over [0, 9.02^2] of relative error 2.2e-8, P(0) = Q(0) = 1; behind it the quotient
/// is 1. NaN stays.
HWY_INLINE Vector soft_cap(Vector x, Vector cap, Vector inverse) {
  const Vector most = hn::Mul(set(9.02F), cap);
  x = hn::Min(most, hn::Max(hn::Neg(most), x));
  const Vector y = hn::Mul(x, inverse);
  const Vector z = hn::Mul(y, y);
  Vector p = hn::MulAdd(set(1.338437066e-08F), z, set(2.063588574e-05F));
  Vector q = hn::MulAdd(set(7.790283532e-07F), z, set(3.288523867e-04F));
  p = hn::MulAdd(p, z, set(3.497461764e-03F));
  q = hn::MulAdd(q, z, set(2.588437672e-02F));
  p = hn::MulAdd(p, z, set(1.338269078e-01F));
  q = hn::MulAdd(q, z, set(4.671601203e-01F));
  p = hn::MulAdd(p, z, set(1.0F));
  q = hn::MulAdd(q, z, set(1.0F));
#if HWY_TARGET == HWY_AVX3  // 14 bits, and one step of Newton's
  const Vector guess{_mm512_rcp14_ps(q.raw)};
  const Vector share = hn::MulAdd(guess, hn::NegMulAdd(q, guess, set(1.0F)), guess);
  return hn::Mul(hn::Mul(x, p), share);
#else
  return hn::Div(hn::Mul(x, p), q);
#endif
}

/// Phi(x), the normal distribution. The tail is 2^P(|x|) with P(t) = log2 Phi(-t), a polynomial of
/// degree 10 fitted over [0, 6] with P(0) = -1: its own error is below 7e-9 sqrt(tail), and P falls
/// to -inf behind 6. No division, and the left tail keeps its relative accuracy.
HWY_INLINE Vector normal_cdf(Vector x) {
  const Vector t = hn::Abs(x);
  Vector p = hn::MulAdd(set(-3.423303241e-08F), t, set(9.696298093e-07F));
  p = hn::MulAdd(p, t, set(-1.186908048e-05F));
  p = hn::MulAdd(p, t, set(8.01310307e-05F));
  p = hn::MulAdd(p, t, set(-0.0002872979967F));
  p = hn::MulAdd(p, t, set(6.602745088e-06F));
  p = hn::MulAdd(p, t, set(0.006948326714F));
  p = hn::MulAdd(p, t, set(-0.05244729668F));
  p = hn::MulAdd(p, t, set(-0.4592176974F));
  p = hn::MulAdd(p, t, set(-1.151104569F));
  const Vector tail = exp2_neg(hn::MulAdd(p, t, set(-1.0F)));
  return hn::IfThenElse(hn::Lt(x, hn::Zero(kFloats)), tail, hn::Sub(set(1.0F), tail));
}

/// phi(x) = exp(-x^2 / 2) / sqrt(2 pi)
HWY_INLINE Vector normal_pdf(Vector x) {
  return hn::Mul(set(0.398942280F), exp(hn::Mul(hn::Mul(set(-0.5F), x), x)));
}

}  // namespace grouphead::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif  // GROUPHEAD_TARGET_IS_LEVEL

#endif  // per-target include guard
