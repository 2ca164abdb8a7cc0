// Per-target: random words of consecutive elements from the counter-based generators.

#if defined(GROUPHEAD_KERNELS_RANDOM_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef GROUPHEAD_KERNELS_RANDOM_INL_H_
#undef GROUPHEAD_KERNELS_RANDOM_INL_H_
#else
#define GROUPHEAD_KERNELS_RANDOM_INL_H_
#endif

#include "kernels/cpu/held-inl.h"
#include "kernels/random/philox.h"
#include "kernels/random/threefry.h"

#if GROUPHEAD_TARGET_IS_LEVEL
HWY_BEFORE_NAMESPACE();
namespace grouphead::kernels::HWY_NAMESPACE {

using DU32 = hn::CappedTag<std::uint32_t, 16>;
using DU64 = hn::Repartition<std::uint64_t, DU32>;
using VU32 = Held<DU32>;
using VU64 = Held<DU64>;
constexpr int kWords = static_cast<int>(hn::MaxLanes(DU32()));
constexpr int kPhiloxBlocks = kWords / 2;  // blocks of four words, one in each 64-bit lane

HWY_INLINE VU64 wide(std::uint64_t x) { return hn::Set(DU64(), x); }

// Words of 2 kWords consecutive elements.
struct PhiloxVectors {
  VU32 first;
  VU32 second;
};

/// philox() of kernels/random/philox.h for kGroups times kPhiloxBlocks consecutive blocks; groups
/// go side by side, as each round waits for the one before it. A 64-bit lane holds one counter word
/// in its low half, and MulEven reads only that half: what stands above it needs no clearing. Per
/// round and block: 2 products, 2 shifts, 4 exclusive ors. Even lanes take the first half of the
/// blocks and odd lanes the second, so that interleaving within 128 bits gives elements in order.
template <int kGroups>
HWY_INLINE void philox_groups(std::uint64_t seed, std::uint64_t draw, std::uint64_t block,
                              PhiloxVectors (&words)[kGroups]) {
  const DU64 d64;
  const DU32 d32;
  const VU64 lane = hn::Iota(d64, 0);
  const VU64 odd = hn::And(lane, wide(1));
  const VU64 half =
      hn::IfThenElseZero(hn::Eq(odd, wide(1)), wide(static_cast<std::uint64_t>(kPhiloxBlocks / 2)));
  const VU64 places = hn::Add(hn::ShiftRight<1>(lane), half);
  VU64 c0[kGroups], c1[kGroups], c2[kGroups], c3[kGroups];
  HWY_UNROLL(4)
  for (int n = 0; n < kGroups; ++n) {
    c0[n] = hn::Add(wide(block + static_cast<std::uint64_t>(n * kPhiloxBlocks)), places);
    c1[n] = hn::ShiftRight<32>(c0[n]);
    c2[n] = wide(draw & 0xFFFFFFFF);
    c3[n] = wide(draw >> 32);
  }
  auto key_0 = static_cast<std::uint32_t>(seed);
  auto key_1 = static_cast<std::uint32_t>(seed >> 32);
  const auto multiplier_0 = hn::Set(d32, kPhiloxMultipliers[0]);
  const auto multiplier_1 = hn::Set(d32, kPhiloxMultipliers[1]);
  for (int round = 0; round < kPhiloxRounds; ++round) {
    HWY_UNROLL(4)
    for (int n = 0; n < kGroups; ++n) {
      const VU64 product_0 = hn::MulEven(hn::BitCast(d32, c0[n]), multiplier_0);
      const VU64 product_1 = hn::MulEven(hn::BitCast(d32, c2[n]), multiplier_1);
      c0[n] = hn::Xor3(VU64(hn::ShiftRight<32>(product_1)), c1[n], wide(key_0));
      c1[n] = product_1;
      c2[n] = hn::Xor3(VU64(hn::ShiftRight<32>(product_0)), c3[n], wide(key_1));
      c3[n] = product_0;
    }
    key_0 += kPhiloxWeyl[0];
    key_1 += kPhiloxWeyl[1];
  }
  const VU64 low = wide(0xFFFFFFFF);
  HWY_UNROLL(4)
  for (int n = 0; n < kGroups; ++n) {
    const VU64 words_01 = hn::Or(hn::And(c0[n], low), hn::ShiftLeft<32>(c1[n]));
    const VU64 words_23 = hn::Or(hn::And(c2[n], low), hn::ShiftLeft<32>(c3[n]));
    words[n] = {hn::BitCast(d32, hn::InterleaveLower(d64, words_01, words_23)),
                hn::BitCast(d32, hn::InterleaveUpper(d64, words_01, words_23))};
  }
}

HWY_INLINE PhiloxVectors philox_vectors(std::uint64_t seed, std::uint64_t draw,
                                        std::uint64_t block) {
  PhiloxVectors words[1];
  philox_groups(seed, draw, block, words);
  return words[0];
}

template <int kBits, int kGroups>
HWY_INLINE void threefry_round(VU32 (&x)[kGroups], VU32 (&y)[kGroups]) {
  HWY_UNROLL(4)
  for (int n = 0; n < kGroups; ++n) {
    x[n] = hn::Add(x[n], y[n]);
    y[n] = hn::Xor(hn::RotateRight<32 - kBits>(y[n]), x[n]);
  }
}

/// threefry() of kernels/random/threefry.h for kGroups times kWords consecutive elements, side by
/// side.
template <int kGroups>
HWY_INLINE void threefry_groups(const ThreefryKey& key, std::uint64_t index,
                                VU32 (&bits)[kGroups]) {
  const DU32 d;
  const auto word = [&](int i) { return hn::Set(d, key.words[i % 3]); };
  VU32 x[kGroups], y[kGroups];
  HWY_UNROLL(4)
  for (int n = 0; n < kGroups; ++n) {
    const std::uint64_t first = index + static_cast<std::uint64_t>(n * kWords);
    const VU32 base = hn::Set(d, static_cast<std::uint32_t>(first));
    const VU32 low = hn::Add(base, hn::Iota(d, 0));
    const VU32 carry = hn::IfThenElseZero(hn::Lt(low, base), hn::Set(d, 1));
    const VU32 high = hn::Add(hn::Set(d, static_cast<std::uint32_t>(first >> 32)), carry);
    x[n] = hn::Add(high, word(0));
    y[n] = hn::Add(low, word(1));
  }
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
    const VU32 more = hn::Set(d, key.words[(i + 1) % 3] + static_cast<std::uint32_t>(i));
    HWY_UNROLL(4)
    for (int n = 0; n < kGroups; ++n) {
      x[n] = hn::Add(x[n], word(i));
      y[n] = hn::Add(y[n], more);
    }
  }
  HWY_UNROLL(4)
  for (int n = 0; n < kGroups; ++n) bits[n] = hn::Xor(x[n], y[n]);
}

HWY_INLINE VU32 threefry_vector(const ThreefryKey& key, std::uint64_t index) {
  VU32 bits[1];
  threefry_groups(key, index, bits);
  return bits[0];
}

}  // namespace grouphead::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif  // GROUPHEAD_TARGET_IS_LEVEL

#endif  // per-target include guard
