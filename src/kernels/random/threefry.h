#pragma once

#include <cstdint>

namespace grouphead::kernels {

// Threefry-2x32 with 20 rounds: every fourth round is followed by one of the key's three words.
// Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3", section 3.2.
inline constexpr int kThreefryRotations[2][4] = {{13, 15, 26, 6}, {17, 29, 16, 24}};
inline constexpr int kThreefryInjections = 5;

// The key's words in the order of their injection: number i adds words i % 3 and (i + 1) % 3, and i
// itself to the second.
struct ThreefryKey {
  constexpr ThreefryKey(std::uint64_t seed, std::uint64_t draw) noexcept
      : words{static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(draw), 0} {
    words[2] = words[0] ^ words[1] ^ 0x1BD11BDA;
  }
  std::uint32_t words[3];
};

// Both output words XORed, of the counter (high, low) = index.
constexpr std::uint32_t threefry(const ThreefryKey& key, std::uint64_t index) noexcept {
  std::uint32_t x = static_cast<std::uint32_t>(index >> 32) + key.words[0];
  std::uint32_t y = static_cast<std::uint32_t>(index) + key.words[1];
  for (int i = 1; i <= kThreefryInjections; ++i) {
    for (const int rotation : kThreefryRotations[(i + 1) % 2]) {
      x += y;
      y = (y << rotation | y >> (32 - rotation)) ^ x;
    }
    x += key.words[i % 3];
    y += key.words[(i + 1) % 3] + static_cast<std::uint32_t>(i);
  }
  return x ^ y;
}

}  // namespace grouphead::kernels
