// Products of a tile of 8-bit keys with queries, at levels without the instructions of
// int8_products.cc. Included once per target.

#if defined(GROUPHEAD_KERNELS_INT8_PRODUCTS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef GROUPHEAD_KERNELS_INT8_PRODUCTS_INL_H_
#undef GROUPHEAD_KERNELS_INT8_PRODUCTS_INL_H_
#else
#define GROUPHEAD_KERNELS_INT8_PRODUCTS_INL_H_
#endif

#include "kernels/attention/int8_products.h"
#include "kernels/cpu/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace grouphead::kernels::HWY_NAMESPACE {

using Words = hn::RebindToUnsigned<Floats>;
using Whole = hn::RebindToSigned<Floats>;
constexpr Words kWord;
constexpr Whole kWhole;

constexpr int kShared = static_cast<int>(kInt8Rows);  // rows that share what was widened

// An Int8Products: integers, so the same bits as by any other.
#if HWY_TARGET == HWY_SVE_256
static void int8_products(const std::uint8_t* tile, const std::int8_t* codes, Index words, Index,
                          std::int32_t* to) noexcept {
  const svbool_t all = svptrue_b8();
  std::int32_t missing[kShared];
  for (int i = 0; i < kShared; ++i) missing[i] = missing_products(codes + i * words * 4, words);
  for (Index j = 0; j < kPackKeys; j += kLanes) {
    const std::uint8_t* k = tile + 4 * (j / kPanelKeys * kPanelKeys * words + j % kPanelKeys);
    Held<Whole> sums[kShared];
    HWY_UNROLL(4)
    for (int i = 0; i < kShared; ++i) sums[i] = hn::Set(kWhole, missing[i]);
    for (Index d = 0; d < words; ++d, k += 4 * kPanelKeys) {
      const auto x = svreinterpret_s8_u8(sveor_n_u8_x(all, svld1_u8(all, k), kCacheZero));
      HWY_UNROLL(4)
      for (int i = 0; i < kShared; ++i) {
        std::int32_t four = 0;
        __builtin_memcpy(&four, codes + (i * words + d) * 4, 4);
        sums[i] = svdot_s32(sums[i], x, svreinterpret_s8_s32(hn::Set(kWhole, four)));
      }
    }
    HWY_UNROLL(4)
    for (int i = 0; i < kShared; ++i) hn::StoreU(sums[i], kWhole, to + i * kPackKeys + j);
  }
}
#else
static void int8_products(const std::uint8_t* tile, const std::int8_t* codes, Index words, Index,
                          std::int32_t* to) noexcept {
  // Bytes as 16-bit pairs: those at even places and those at odd ones.
  const auto multiply = [](hn::Vec<Whole> a, hn::Vec<Whole> b) {
#if HWY_TARGET == HWY_AVX3
    return hn::Vec<Whole>{_mm512_madd_epi16(a.raw, b.raw)};
#elif HWY_TARGET == HWY_AVX2
    return hn::Vec<Whole>{_mm256_madd_epi16(a.raw, b.raw)};
#elif HWY_TARGET == HWY_NEON
    const auto low = vmull_s16(vget_low_s16(vreinterpretq_s16_s32(a.raw)),
                               vget_low_s16(vreinterpretq_s16_s32(b.raw)));
    const auto high = vmull_high_s16(vreinterpretq_s16_s32(a.raw), vreinterpretq_s16_s32(b.raw));
    return hn::Vec<Whole>{vpaddq_s32(low, high)};
#else
    return hn::Vec<Whole>{_mm_madd_epi16(a.raw, b.raw)};
#endif
  };
  const hn::Repartition<std::uint16_t, Floats> pairs;
  const hn::Repartition<std::int16_t, Floats> signed_pairs;
  for (Index j = 0; j < kPackKeys; j += kLanes) {
    const auto* k = reinterpret_cast<const std::uint32_t*>(tile) +
                    j / kPanelKeys * kPanelKeys * words + j % kPanelKeys;
    Held<Whole> sums[kShared];
    HWY_UNROLL(4)
    for (int i = 0; i < kShared; ++i) sums[i] = hn::Zero(kWhole);
    for (Index d = 0; d < words; ++d, k += kPanelKeys) {
      const auto bytes = hn::BitCast(pairs, hn::LoadU(kWord, k));
      const auto even = hn::BitCast(kWhole, hn::And(bytes, hn::Set(pairs, 0xFF)));
      const auto odd = hn::BitCast(kWhole, hn::ShiftRight<8>(bytes));
      HWY_UNROLL(4)
      for (int i = 0; i < kShared; ++i) {
        std::int32_t four = 0;
        __builtin_memcpy(&four, codes + (i * words + d) * 4, 4);
        const auto q = hn::BitCast(signed_pairs, hn::Set(kWhole, four));
        const auto q_even = hn::BitCast(kWhole, hn::ShiftRight<8>(hn::ShiftLeft<8>(q)));
        const auto q_odd = hn::BitCast(kWhole, hn::ShiftRight<8>(q));
        sums[i] = hn::Add(sums[i], hn::Add(multiply(even, q_even), multiply(odd, q_odd)));
      }
    }
    HWY_UNROLL(4)
    for (int i = 0; i < kShared; ++i) hn::StoreU(sums[i], kWhole, to + i * kPackKeys + j);
  }
}
#endif

}  // namespace grouphead::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
