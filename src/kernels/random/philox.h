#pragma once

#include <cstdint>

namespace grouphead::kernels {

// Philox4x32-10. Counter words: block (low, high), draw (low, high); key words: seed (low, high).
// Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3", section 3.3.
inline constexpr std::uint32_t kPhiloxMultipliers[2] = {0xD2511F53, 0xCD9E8D57};
inline constexpr std::uint32_t kPhiloxWeyl[2] = {0x9E3779B9, 0xBB67AE85};
inline constexpr int kPhiloxRounds = 10;

struct PhiloxWords {
  std::uint32_t words[4];
};

constexpr PhiloxWords philox(std::uint64_t seed, std::uint64_t draw, std::uint64_t block) noexcept {
  const auto low = [](std::uint64_t x) { return static_cast<std::uint32_t>(x); };
  const auto high = [](std::uint64_t x) { return static_cast<std::uint32_t>(x >> 32); };
  PhiloxWords c{{low(block), high(block), low(draw), high(draw)}};
  std::uint32_t key[2] = {low(seed), high(seed)};
  for (int round = 0; round < kPhiloxRounds; ++round) {
    const std::uint64_t product_0 = std::uint64_t{kPhiloxMultipliers[0]} * c.words[0];
    const std::uint64_t product_1 = std::uint64_t{kPhiloxMultipliers[1]} * c.words[2];
    c = {{high(product_1) ^ c.words[1] ^ key[0], low(product_1),
          high(product_0) ^ c.words[3] ^ key[1], low(product_0)}};
    key[0] += kPhiloxWeyl[0];
    key[1] += kPhiloxWeyl[1];
  }
  return c;
}

}  // namespace grouphead::kernels
