#pragma once

#include <bit>
#include <cstdint>
#include <limits>

namespace grouphead::kernels {

inline constexpr float kInt8Most = 127;  // the largest 8-bit number

/// The scale of numbers up to `most` in 8 bits; 0 where they are so small that all count as 0.
inline float int8_scale(float most) noexcept { return most >= 0x1p-100F ? most / kInt8Most : 0.0F; }
/// What a number is multiplied with: a function of the scale alone.
inline float int8_factor(float scale) noexcept { return scale > 0.0F ? 1.0F / scale : 0.0F; }
/// Nearest whole number, ties to even, of a small one.
inline int whole(float x) noexcept {
  return std::bit_cast<std::int32_t>(x + 0x1.8p23F) - 0x4B400000;
}

/// The size of x as its bits, which order as sizes do, NaN above all others.
inline std::int32_t size_bits(float x) noexcept {
  return std::bit_cast<std::int32_t>(x) & 0x7FFFFFFF;
}
/// The scale of numbers whose greatest size_bits() this is; NaN where one is not finite.
inline float int8_scale_of_bits(std::int32_t most) noexcept {
  constexpr std::int32_t kInfinity = 0x7F800000;
  if (most >= kInfinity) return std::numeric_limits<float>::quiet_NaN();
  return int8_scale(std::bit_cast<float>(most));
}

}  // namespace grouphead::kernels
