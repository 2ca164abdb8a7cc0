#pragma once

#include <bit>
#include <cstdint>

namespace grouphead::kernels {

/// Nearest bf16, ties to even; NaN stays NaN.
inline std::uint16_t bf16_of(float x) noexcept {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  const std::uint32_t rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16;
  return static_cast<std::uint16_t>(x == x ? rounded : bits >> 16 | 0x40);
}
inline float bf16_value(std::uint16_t bits) noexcept {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}

}  // namespace grouphead::kernels
