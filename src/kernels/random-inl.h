// Per-target: random words of consecutive elements from the counter-based generators.

#if defined(GROUPHEAD_KERNELS_RANDOM_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef GROUPHEAD_KERNELS_RANDOM_INL_H_
#undef GROUPHEAD_KERNELS_RANDOM_INL_H_
#else
#define GROUPHEAD_KERNELS_RANDOM_INL_H_
#endif

#include <hwy/highway.h>

#include "kernels/philox.h"
#include "kernels/threefry.h"

#if GROUPHEAD_TARGET_IS_LEVEL
HWY_BEFORE_NAMESPACE();
namespace grouphead::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using DU32 = hn::CappedTag<std::uint32_t, 16>;
using DU64 = hn::Repartition<std::uint64_t, DU32>;
using VU32 = hn::Vec<DU32>;
using VU64 = hn::Vec<DU64>;
constexpr int kWords = static_cast<int>(hn::MaxLanes(DU32()));
constexpr int kPhiloxBlocks = kWords / 2;  // blocks of four words, one in each 64-bit lane

HWY_INLINE VU64 wide(std::uint64_t x) { return hn::Set(DU64(), x); }

// Words of 2 kWords consecutive elements.
struct PhiloxVectors {
  VU32 first;
  VU32 second;
};

/// philox() of kernels/philox.h for kPhiloxBlocks consecutive blocks. A 64-bit lane holds one
/// counter word in its low half, and MulEven reads only that half: what stands above it needs no
/// clearing. Per round and block: 2 products, 2 shifts, 4 exclusive ors. Even lanes take the first
/// half of the blocks and odd lanes the second, so that interleaving within 128 bits gives elements
/// in order.
HWY_INLINE PhiloxVectors philox_vectors(std::uint64_t seed, std::uint64_t draw,
                                        std::uint64_t block) {
  const DU64 d64;
  const DU32 d32;
  const VU64 lane = hn::Iota(d64, 0);
  const VU64 odd = hn::And(lane, wide(1));
  const VU64 half =
      hn::IfThenElseZero(hn::Eq(odd, wide(1)), wide(static_cast<std::uint64_t>(kPhiloxBlocks / 2)));
  const VU64 blocks = hn::Add(wide(block), hn::Add(hn::ShiftRight<1>(lane), half));
  VU64 c0 = blocks;
  VU64 c1 = hn::ShiftRight<32>(blocks);
  VU64 c2 = wide(draw & 0xFFFFFFFF);
  VU64 c3 = wide(draw >> 32);
  auto key_0 = static_cast<std::uint32_t>(seed);
  auto key_1 = static_cast<std::uint32_t>(seed >> 32);
  const VU32 multiplier_0 = hn::Set(d32, kPhiloxMultipliers[0]);
  const VU32 multiplier_1 = hn::Set(d32, kPhiloxMultipliers[1]);
  for (int round = 0; round < kPhiloxRounds; ++round) {
    const VU64 product_0 = hn::MulEven(hn::BitCast(d32, c0), multiplier_0);
    const VU64 product_1 = hn::MulEven(hn::BitCast(d32, c2), multiplier_1);
    c0 = hn::Xor3(hn::ShiftRight<32>(product_1), c1, wide(key_0));
    c1 = product_1;
    c2 = hn::Xor3(hn::ShiftRight<32>(product_0), c3, wide(key_1));
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

template <int kBits>
HWY_INLINE void threefry_round(VU32& x, VU32& y) {
  x = hn::Add(x, y);
  y = hn::Xor(hn::RotateRight<32 - kBits>(y), x);
}

/// threefry() of kernels/threefry.h for kWords consecutive elements.
HWY_INLINE VU32 threefry_vector(const ThreefryKey& key, std::uint64_t index) {
  const DU32 d;
  const auto word = [&](int i) { return hn::Set(d, key.words[i % 3]); };
  const VU32 base = hn::Set(d, static_cast<std::uint32_t>(index));
  const VU32 low = hn::Add(base, hn::Iota(d, 0));
  const VU32 one = hn::Set(d, 1);
  const VU32 carry = hn::IfThenElseZero(hn::Lt(low, base), one);
  const VU32 high = hn::Add(hn::Set(d, static_cast<std::uint32_t>(index >> 32)), carry);
  VU32 x = hn::Add(high, word(0));
  VU32 y = hn::Add(low, word(1));
  constexpr auto& kR = kThreefryRotations;
  HWY_UNROLL(5)
  for (int i = 1; i <= kThreefryInjections; ++i) {
    if (i % 2 == 1) {
      threefry_round<kR[0][0]>(x, y), threefry_round<kR[0][1]>(x, y);
      threefry_round<kR[0][2]>(x, y), threefry_round<kR[0][3]>(x, y);
    } else {
      threefry_round<kR[1][0]>(x, y), threefry_round<kR[1][1]>(x, y);
      threefry_round<kR[1][2]>(x, y), threefry_round<kR[1][3]>(x, y);
    }
    x = hn::Add(x, word(i));
    y = hn::Add(y, hn::Add(word(i + 1), hn::Set(d, static_cast<std::uint32_t>(i))));
  }
  return hn::Xor(x, y);
}

}  // namespace grouphead::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif  // GROUPHEAD_TARGET_IS_LEVEL

#endif  // per-target include guard
