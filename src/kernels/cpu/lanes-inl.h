// Per-target: vectors of f32, parts of vectors at the end of a row, maps and folds over rows.

#if defined(GROUPHEAD_KERNELS_LANES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef GROUPHEAD_KERNELS_LANES_INL_H_
#undef GROUPHEAD_KERNELS_LANES_INL_H_
#else
#define GROUPHEAD_KERNELS_LANES_INL_H_
#endif

#include "kernels/cpu/held-inl.h"

#if GROUPHEAD_TARGET_IS_LEVEL
HWY_BEFORE_NAMESPACE();
namespace grouphead::kernels::HWY_NAMESPACE {

using Floats = hn::CappedTag<float, 16>;
using Vector = Held<Floats>;
constexpr Floats kFloats;
constexpr Index kLanes = static_cast<Index>(hn::MaxLanes(kFloats));

HWY_INLINE Vector set(float x) { return hn::Set(kFloats, x); }

/// The greater of a limit and x; a NaN of x stays.
HWY_INLINE Vector at_least(Vector limit, Vector x) {
#if HWY_TARGET == HWY_NEON
  return Vector{vmaxq_f32(limit.raw, x.raw)};
#elif HWY_TARGET == HWY_SVE_256
  return svmax_f32_x(svptrue_b32(), limit, x);
#else  // x86 returns the second operand where one is a NaN
  return hn::Max(limit, x);
#endif
}
/// The smaller one.
HWY_INLINE Vector at_most(Vector limit, Vector x) {
#if HWY_TARGET == HWY_NEON
  return Vector{vminq_f32(limit.raw, x.raw)};
#elif HWY_TARGET == HWY_SVE_256
  return svmin_f32_x(svptrue_b32(), limit, x);
#else
  return hn::Min(limit, x);
#endif
}

/// The first n < kLanes elements at p, then zeros. Touches nothing behind them.
HWY_INLINE Vector load_part(const float* p, Index n) {
#if HWY_TARGET <= HWY_AVX2 || HWY_HAVE_SCALABLE
  return hn::MaskedLoad(hn::FirstN(kFloats, static_cast<size_t>(n)), kFloats, p);
#else  // SSE4 and NEON have no masked load
  HWY_ALIGN float lanes[kLanes] = {};
  for (Index i = 0; i < n; ++i) lanes[i] = p[i];
  return hn::Load(kFloats, lanes);
#endif
}

HWY_INLINE void store_part(Vector v, Index n, float* p) {
#if HWY_TARGET <= HWY_AVX2 || HWY_HAVE_SCALABLE
  hn::BlendedStore(v, hn::FirstN(kFloats, static_cast<size_t>(n)), kFloats, p);
#else
  HWY_ALIGN float lanes[kLanes];
  hn::Store(v, kFloats, lanes);
  for (Index i = 0; i < n; ++i) p[i] = lanes[i];
#endif
}

/// n elements, kLanes or fewer. The test goes away where n is a constant.
HWY_INLINE Vector load(const float* p, Index n) {
  if (n == kLanes) return hn::LoadU(kFloats, p);
  return load_part(p, n);
}

HWY_INLINE void store(Vector v, Index n, float* p) {
  if (n == kLanes) {
    hn::StoreU(v, kFloats, p);
  } else {
    store_part(v, n, p);
  }
}

/// step(i, n) for the vectors of [0, count): n = kLanes, but for the last one.
template <class Step>
HWY_INLINE void for_vectors(Index count, const Step& step) {
  Index i = 0;
  for (; i + kLanes <= count; i += kLanes) step(i, kLanes);
  if (i < count) step(i, count - i);
}

/// y = op(x)
template <class Op>
struct Map {
  const float* x;
  float* y;
  Op op;
  HWY_INLINE void operator()(Index i, Index n) const { store(op(load(x + i, n)), n, y + i); }
};
template <class Op>
HWY_INLINE void map(const float* x, Index count, float* y, const Op& op) {
  for_vectors(count, Map<Op>{x, y, op});
}

/// y = op(a, b)
template <class Op>
struct MapPairs {
  const float* a;
  const float* b;
  float* y;
  Op op;
  HWY_INLINE void operator()(Index i, Index n) const {
    store(op(load(a + i, n), load(b + i, n)), n, y + i);
  }
};
template <class Op>
HWY_INLINE void map_pairs(const float* a, const float* b, Index count, float* y, const Op& op) {
  for_vectors(count, MapPairs<Op>{a, b, y, op});
}

struct Add {
  HWY_INLINE Vector operator()(Vector a, Vector b) const { return hn::Add(a, b); }
};
struct Max {
  HWY_INLINE Vector operator()(Vector a, Vector b) const { return hn::Max(a, b); }
};

/// Folds term(i, n) over [0, count) lane by lane, in four chains so that latencies overlap.
/// `neutral` stands in for the lanes behind the end.
template <class Fold, class Term>
HWY_INLINE Vector fold(Index count, Vector neutral, const Fold& combine, const Term& term) {
  Vector acc[4] = {neutral, neutral, neutral, neutral};
  Index i = 0;
  for (; i + 4 * kLanes <= count; i += 4 * kLanes) {
    acc[0] = combine(acc[0], term(i, kLanes));
    acc[1] = combine(acc[1], term(i + kLanes, kLanes));
    acc[2] = combine(acc[2], term(i + 2 * kLanes, kLanes));
    acc[3] = combine(acc[3], term(i + 3 * kLanes, kLanes));
  }
  for (; i + kLanes <= count; i += kLanes) acc[0] = combine(acc[0], term(i, kLanes));
  if (i < count) {
    const auto used = hn::FirstN(kFloats, static_cast<size_t>(count - i));
    acc[1] = combine(acc[1], hn::IfThenElse(used, term(i, count - i), neutral));
  }
  return combine(combine(acc[0], acc[1]), combine(acc[2], acc[3]));
}

template <class Term>
HWY_INLINE float sum(Index count, const Term& term) {
  return hn::GetLane(hn::SumOfLanes(kFloats, fold(count, hn::Zero(kFloats), Add{}, term)));
}

/// The elements themselves, as a term of a fold.
struct Elements {
  const float* x;
  HWY_INLINE Vector operator()(Index i, Index n) const { return load(x + i, n); }
};

}  // namespace grouphead::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif  // GROUPHEAD_TARGET_IS_LEVEL

#endif  // per-target include guard
