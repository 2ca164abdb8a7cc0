// Per-target: vectors as elements of arrays and as members.

#if defined(GROUPHEAD_KERNELS_HELD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef GROUPHEAD_KERNELS_HELD_INL_H_
#undef GROUPHEAD_KERNELS_HELD_INL_H_
#else
#define GROUPHEAD_KERNELS_HELD_INL_H_
#endif

#include <hwy/highway.h>

#include <cstdint>

#include "kernels/cpu/level.h"

#if GROUPHEAD_TARGET_IS_LEVEL
HWY_BEFORE_NAMESPACE();
namespace grouphead::kernels::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

#if HWY_HAVE_SCALABLE
// SVE's vectors have no size that the language knows; these have the one that -msve-vector-bits
// promises.
template <class T>
struct Fixed;
#define GROUPHEAD_FIXED(T, V)                                                \
  template <>                                                                \
  struct Fixed<T> {                                                          \
    typedef V Type __attribute__((arm_sve_vector_bits(GROUPHEAD_SVE_BITS))); \
  };
GROUPHEAD_FIXED(float, svfloat32_t)
GROUPHEAD_FIXED(double, svfloat64_t)
GROUPHEAD_FIXED(std::int32_t, svint32_t)
GROUPHEAD_FIXED(std::uint32_t, svuint32_t)
GROUPHEAD_FIXED(std::uint64_t, svuint64_t)
#undef GROUPHEAD_FIXED

template <class T>
class HeldVector {
  using V = hn::Vec<hn::ScalableTag<T>>;

 public:
  HeldVector() = default;
  HWY_INLINE HeldVector(V v) : fixed_(v) {}
  HWY_INLINE operator V() const { return fixed_; }

 private:
  typename Fixed<T>::Type fixed_;
};
template <class D>
using Held = HeldVector<hn::TFromD<D>>;
#else
/// A vector of tag D that has a place in memory.
template <class D>
using Held = hn::Vec<D>;
#endif

}  // namespace grouphead::kernels::HWY_NAMESPACE

#if HWY_HAVE_SCALABLE
// So that functions of Highway that ask for a vector's element take these.
template <class T>
struct hwy::HWY_NAMESPACE::DFromV_t<grouphead::kernels::HWY_NAMESPACE::HeldVector<T>> {
  using type = ScalableTag<T>;
};
#endif
HWY_AFTER_NAMESPACE();
#endif  // GROUPHEAD_TARGET_IS_LEVEL

#endif  // per-target include guard
