#pragma once

#include <cstdint>

namespace grouphead::text {

/// Spreads the bits of a whole number over a hash (the finalizer of SplitMix64).
constexpr std::uint64_t mixed(std::uint64_t x) noexcept {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9U;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBU;
  return x ^ (x >> 31);
}

}  // namespace grouphead::text
