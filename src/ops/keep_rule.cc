#include "ops/keep_rule.h"

#include <algorithm>
#include <cmath>

namespace grouphead::ops {
namespace {

// Philox drops its smallest words.
double philox_threshold(double rate) noexcept { return std::round(rate * 0x1p32); }

// JAX keeps a number of 23 bits, n 2^-23, below the float next to 1 - rate. Its complement reaches
// 2^32 - 512 times the smallest n that is not below.
double threefry_threshold(double rate) noexcept {
  return 0x1p32 - 512 * std::ceil(double{static_cast<float>(1 - rate)} * 0x1p23);
}

}  // namespace

kernels::KeepRule keep_rule(double rate, const RandomDraw& draw) noexcept {
  const bool threefry = draw.algorithm == RandomAlgorithm::threefry;
  const double threshold = threefry ? threefry_threshold(rate) : philox_threshold(rate);
  return {threefry, draw.key.seed, draw.key.draw,
          static_cast<std::uint32_t>(std::min(threshold, 0x1p32 - 1))};
}

}  // namespace grouphead::ops
