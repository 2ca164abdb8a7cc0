// Per-target: rotation of the pairs of heads.

#if defined(GROUPHEAD_KERNELS_ROPE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef GROUPHEAD_KERNELS_ROPE_INL_H_
#undef GROUPHEAD_KERNELS_ROPE_INL_H_
#else
#define GROUPHEAD_KERNELS_ROPE_INL_H_
#endif

#include "kernels/cpu/lanes-inl.h"

#if GROUPHEAD_TARGET_IS_LEVEL
HWY_BEFORE_NAMESPACE();
namespace grouphead::kernels::HWY_NAMESPACE {

// (a, b) becomes (a cos - b sin, a sin + b cos), for n pairs at once.
struct Turn {
  Vector cos, sin;
  HWY_INLINE Vector first(Vector a, Vector b) const {
    return hn::NegMulAdd(b, sin, hn::Mul(a, cos));
  }
  HWY_INLINE Vector second(Vector a, Vector b) const { return hn::MulAdd(b, cos, hn::Mul(a, sin)); }
};

struct TurnHalves {
  const float* cos;
  const float* sin;
  Vector sign;
  Index pairs;
  Index heads;
  Index head_stride;
  float* x;
  HWY_INLINE void operator()(Index i, Index n) const {
    const Turn turn = {load(cos + i, n), hn::Mul(sign, load(sin + i, n))};
    float* head = x + i;
    for (Index h = 0; h < heads; ++h, head += head_stride) {
      const Vector a = load(head, n);
      const Vector b = load(head + pairs, n);
      store(turn.first(a, b), n, head);
      store(turn.second(a, b), n, head + pairs);
    }
  }
};

inline void rope_half(const float* cos, const float* sin, float sign, Index pairs, Index heads,
                      Index head_stride, float* x) noexcept {
  for_vectors(pairs, TurnHalves{cos, sin, set(sign), pairs, heads, head_stride, x});
}

inline void rope_interleaved(const float* cos, const float* sin, float sign, Index pairs,
                             Index heads, Index head_stride, float* x) noexcept {
  for (Index h = 0; h < heads; ++h, x += head_stride) {
    Index i = 0;
    for (; i + kLanes <= pairs; i += kLanes) {
      const Turn turn = {hn::LoadU(kFloats, cos + i),
                         hn::Mul(set(sign), hn::LoadU(kFloats, sin + i))};
      hn::Vec<Floats> a;
      hn::Vec<Floats> b;
      hn::LoadInterleaved2(kFloats, x + 2 * i, a, b);
      hn::StoreInterleaved2(turn.first(a, b), turn.second(a, b), kFloats, x + 2 * i);
    }
    for (; i < pairs; ++i) {
      const float a = x[2 * i];
      const float b = x[2 * i + 1];
      x[2 * i] = a * cos[i] - b * (sign * sin[i]);
      x[2 * i + 1] = a * (sign * sin[i]) + b * cos[i];
    }
  }
}

}  // namespace grouphead::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif  // GROUPHEAD_TARGET_IS_LEVEL

#endif  // per-target include guard
