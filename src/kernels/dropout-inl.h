// Per-target: Philox4x32-10 over many counters at once, and dropout.

#if defined(GROUPHEAD_KERNELS_DROPOUT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef GROUPHEAD_KERNELS_DROPOUT_INL_H_
#undef GROUPHEAD_KERNELS_DROPOUT_INL_H_
#else
#define GROUPHEAD_KERNELS_DROPOUT_INL_H_
#endif

#include "kernels/elementwise.h"
#include "kernels/lanes-inl.h"
#include "kernels/philox.h"

#if GROUPHEAD_TARGET_IS_LEVEL
HWY_BEFORE_NAMESPACE();
namespace grouphead::kernels::HWY_NAMESPACE {

using DU32 = hn::RebindToUnsigned<DF>;
using DU64 = hn::Repartition<std::uint64_t, DF>;
using VU32 = hn::Vec<DU32>;
using VU64 = hn::Vec<DU64>;
constexpr Index kBlockLanes = kLanes / 2;  // Philox blocks of four words, one in each 64-bit lane

HWY_INLINE VU64 wide(std::uint64_t x) { return hn::Set(DU64(), x); }

// Words of 2 kLanes consecutive elements.
struct PhiloxVectors {
  VU32 first;
  VU32 second;
};

/// philox() of kernels/philox.h for kBlockLanes consecutive blocks. A 64-bit lane holds one counter
/// word in its low half, and MulEven reads only that half: what stands above it needs no clearing.
/// Per round and block: 2 products, 2 shifts, 4 exclusive ors. Even lanes take the first half of
/// the blocks and odd lanes the second, so that interleaving within 128 bits gives elements in
/// order.
HWY_INLINE PhiloxVectors philox_vectors(const DropoutDraw& draw, std::uint64_t block) {
  const DU64 d64;
  const DU32 d32;
  const VU64 lane = hn::Iota(d64, 0);
  const VU64 odd = hn::And(lane, wide(1));
  const VU64 half =
      hn::IfThenElseZero(hn::Eq(odd, wide(1)), wide(static_cast<std::uint64_t>(kBlockLanes / 2)));
  const VU64 blocks = hn::Add(wide(block), hn::Add(hn::ShiftRight<1>(lane), half));
  VU64 c0 = blocks;
  VU64 c1 = hn::ShiftRight<32>(blocks);
  VU64 c2 = wide(draw.draw & 0xFFFFFFFF);
  VU64 c3 = wide(draw.draw >> 32);
  auto key_0 = static_cast<std::uint32_t>(draw.seed);
  auto key_1 = static_cast<std::uint32_t>(draw.seed >> 32);
  const VU32 multiplier_0 = hn::Set(d32, kPhiloxMultipliers[0]);
  const VU32 multiplier_1 = hn::Set(d32, kPhiloxMultipliers[1]);
  for (int round = 0; round < kPhiloxRounds; ++round) {
    const VU64 product_0 = hn::MulEven(hn::BitCast(d32, c0), multiplier_0);
    const VU64 product_1 = hn::MulEven(hn::BitCast(d32, c2), multiplier_1);
    c0 = hn::Xor(hn::Xor(hn::ShiftRight<32>(product_1), c1), wide(key_0));
    c1 = product_1;
    c2 = hn::Xor(hn::Xor(hn::ShiftRight<32>(product_0), c3), wide(key_1));
    c3 = product_0;
    key_0 += kPhiloxWeyl[0];
    key_1 += kPhiloxWeyl[1];
  }
  const VU64 low = wide(0xFFFFFFFF);
  const VU64 words_01 = hn::Or(hn::And(c0, low), hn::ShiftLeft<32>(c1));
  const VU64 words_23 = hn::Or(hn::And(c2, low), hn::ShiftLeft<32>(c3));
  return {hn::BitCast(d32, hn::InterleaveLower(d64, words_01, words_23)),
          hn::BitCast(d32, hn::InterleaveUpper(d64, words_01, words_23))};
}

HWY_INLINE void drop(VU32 words, VU32 threshold, VF scale, const float* x, Index n, float* y) {
  const auto dropped = hn::RebindMask(df, hn::Lt(words, threshold));
  store(hn::IfThenZeroElse(dropped, hn::Mul(load(x, n), scale)), n, y);
}

inline void dropout(const float* x, DropoutDraw draw, float scale, Index first, Index count,
                    float* y) noexcept {
  const VU32 threshold = hn::Set(DU32(), draw.threshold);
  auto block = static_cast<std::uint64_t>(first / 4);
  Index i = 0;
  for (; i + 2 * kLanes <= count; i += 2 * kLanes, block += kBlockLanes) {
    const PhiloxVectors words = philox_vectors(draw, block);
    drop(words.first, threshold, set(scale), x + i, kLanes, y + i);
    drop(words.second, threshold, set(scale), x + i + kLanes, kLanes, y + i + kLanes);
  }
  if (i == count) return;
  const PhiloxVectors words = philox_vectors(draw, block);
  const Index n = count - i < kLanes ? count - i : kLanes;
  drop(words.first, threshold, set(scale), x + i, n, y + i);
  if (n < count - i) {
    drop(words.second, threshold, set(scale), x + i + n, count - i - n, y + i + n);
  }
}

}  // namespace grouphead::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif  // GROUPHEAD_TARGET_IS_LEVEL

#endif  // per-target include guard
