// Per-target: sums, scaling, GELU, AdamW and the embedding's scatter.

#if defined(GROUPHEAD_KERNELS_ARITHMETIC_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef GROUPHEAD_KERNELS_ARITHMETIC_INL_H_
#undef GROUPHEAD_KERNELS_ARITHMETIC_INL_H_
#else
#define GROUPHEAD_KERNELS_ARITHMETIC_INL_H_
#endif

#include "kernels/cpu/math-inl.h"
#include "kernels/rowwise/rowwise.h"

#if GROUPHEAD_TARGET_IS_LEVEL
HWY_BEFORE_NAMESPACE();
namespace grouphead::kernels::HWY_NAMESPACE {

inline void add(const float* a, const float* b, Index count, float* y) noexcept {
  map_pairs(a, b, count, y, Add{});
}

struct Scale {
  Vector a;
  HWY_INLINE Vector operator()(Vector x) const { return hn::Mul(a, x); }
};
inline void scale(const float* x, float a, Index count, float* y) noexcept {
  map(x, count, y, Scale{set(a)});
}

struct Gelu {
  HWY_INLINE Vector operator()(Vector x) const { return hn::Mul(x, normal_cdf(x)); }
};
inline void gelu_forward(const float* x, Index count, float* y) noexcept {
  map(x, count, y, Gelu{});
}

// (x Phi(x))' = Phi(x) + x phi(x)
struct GeluGradient {
  HWY_INLINE Vector operator()(Vector x, Vector d_y) const {
    return hn::Mul(d_y, hn::MulAdd(x, normal_pdf(x), normal_cdf(x)));
  }
};
inline void gelu_backward(const float* x, const float* d_y, Index count, float* d_x) noexcept {
  map_pairs(x, d_y, count, d_x, GeluGradient{});
}

using DD = hn::Repartition<double, Floats>;
using VD = Held<DD>;

// Adds the squares of x, formed in double, where they are exact.
HWY_INLINE void add_squares(Vector x, VD& low, VD& high) {
  const DD dd;
  const hn::Half<Floats> dh;
  const VD a = hn::PromoteTo(dd, hn::LowerHalf(dh, x));
  const VD b = hn::PromoteTo(dd, hn::UpperHalf(dh, x));
  low = hn::MulAdd(a, a, low);
  high = hn::MulAdd(b, b, high);
}

inline double sum_of_squares(const float* x, Index count) noexcept {
  const DD dd;
  VD acc[4] = {hn::Zero(dd), hn::Zero(dd), hn::Zero(dd), hn::Zero(dd)};
  Index i = 0;
  for (; i + 2 * kLanes <= count; i += 2 * kLanes) {
    add_squares(hn::LoadU(kFloats, x + i), acc[0], acc[1]);
    add_squares(hn::LoadU(kFloats, x + i + kLanes), acc[2], acc[3]);
  }
  for (; i + kLanes <= count; i += kLanes) add_squares(hn::LoadU(kFloats, x + i), acc[0], acc[1]);
  if (i < count) add_squares(load_part(x + i, count - i), acc[2], acc[3]);
  const VD all = hn::Add(hn::Add(acc[0], acc[1]), hn::Add(acc[2], acc[3]));
  return hn::GetLane(hn::SumOfLanes(dd, all));
}

// Keras's order: the decay first, then the moments, then the step.
struct AdamWUpdate {
  Vector decay, alpha, one_minus_beta_1, one_minus_beta_2, epsilon, gradient_scale;
  const float* gradient;
  float* w;
  float* m;
  float* v;
  HWY_INLINE void operator()(Index i, Index n) const {
    const Vector g = hn::Mul(load(gradient + i, n), gradient_scale);
    const Vector w_old = load(w + i, n);
    const Vector m_old = load(m + i, n);
    const Vector v_old = load(v + i, n);
    const Vector decayed = hn::NegMulAdd(w_old, decay, w_old);
    const Vector m_new = hn::MulAdd(hn::Sub(g, m_old), one_minus_beta_1, m_old);
    const Vector v_new = hn::MulAdd(hn::Sub(hn::Mul(g, g), v_old), one_minus_beta_2, v_old);
    const Vector step = hn::Div(hn::Mul(m_new, alpha), hn::Add(hn::Sqrt(v_new), epsilon));
    store(m_new, n, m + i);
    store(v_new, n, v + i);
    store(hn::Sub(decayed, step), n, w + i);
  }
};

inline void adamw(const AdamWCoefficients<float>& step, const float* gradient, Index count,
                  float* w, float* m, float* v) noexcept {
  for_vectors(count, AdamWUpdate{set(step.decay), set(step.alpha), set(step.one_minus_beta_1),
                                 set(step.one_minus_beta_2), set(step.epsilon),
                                 set(step.gradient_scale), gradient, w, m, v});
}

inline void embedding_backward(const std::int32_t* tokens, const float* d_y, Index rows,
                               Index columns, Index width, float* d_table) noexcept {
  for (Index r = 0; r < rows; ++r) {
    float* d_row = d_table + tokens[r] * width;
    map_pairs(d_row, d_y + r * width, columns, d_row, Add{});
  }
}

}  // namespace grouphead::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif  // GROUPHEAD_TARGET_IS_LEVEL

#endif  // per-target include guard
