// Per-target: dropout.

#if defined(GROUPHEAD_KERNELS_DROPOUT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef GROUPHEAD_KERNELS_DROPOUT_INL_H_
#undef GROUPHEAD_KERNELS_DROPOUT_INL_H_
#else
#define GROUPHEAD_KERNELS_DROPOUT_INL_H_
#endif

#include "kernels/cpu/lanes-inl.h"
#include "kernels/random/random-inl.h"
#include "kernels/rowwise/rowwise.h"

#if GROUPHEAD_TARGET_IS_LEVEL
HWY_BEFORE_NAMESPACE();
namespace grouphead::kernels::HWY_NAMESPACE {

HWY_INLINE void drop(VU32 words, VU32 threshold, Vector scale, const float* x, Index n, float* y) {
  const auto dropped = hn::RebindMask(kFloats, hn::Lt(words, threshold));
  store(hn::IfThenZeroElse(dropped, hn::Mul(load(x, n), scale)), n, y);
}

inline void philox_dropout(const float* x, const KeepRule& rule, float scale, Index first,
                           Index count, float* y) noexcept {
  const VU32 threshold = hn::Set(DU32(), rule.threshold);
  auto block = static_cast<std::uint64_t>(first / 4);
  Index i = 0;
  for (; i + 2 * kLanes <= count; i += 2 * kLanes, block += kPhiloxBlocks) {
    const PhiloxVectors words = philox_vectors(rule.seed, rule.draw, block);
    drop(words.first, threshold, set(scale), x + i, kLanes, y + i);
    drop(words.second, threshold, set(scale), x + i + kLanes, kLanes, y + i + kLanes);
  }
  if (i == count) return;
  const PhiloxVectors words = philox_vectors(rule.seed, rule.draw, block);
  const Index n = count - i < kLanes ? count - i : kLanes;
  drop(words.first, threshold, set(scale), x + i, n, y + i);
  if (n < count - i) {
    drop(words.second, threshold, set(scale), x + i + n, count - i - n, y + i + n);
  }
}

inline void threefry_dropout(const float* x, const KeepRule& rule, float scale, Index first,
                             Index count, float* y) noexcept {
  const VU32 threshold = hn::Set(DU32(), rule.threshold);
  const ThreefryKey key(rule.seed, rule.draw);
  for (Index i = 0; i < count; i += kLanes) {
    const VU32 words = hn::Not(threefry_vector(key, static_cast<std::uint64_t>(first + i)));
    drop(words, threshold, set(scale), x + i, count - i < kLanes ? count - i : kLanes, y + i);
  }
}

inline void dropout(const float* x, KeepRule rule, float scale, Index first, Index count,
                    float* y) noexcept {
  if (rule.threefry) {
    threefry_dropout(x, rule, scale, first, count, y);
  } else {
    philox_dropout(x, rule, scale, first, count, y);
  }
}

}  // namespace grouphead::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif  // GROUPHEAD_TARGET_IS_LEVEL

#endif  // per-target include guard
