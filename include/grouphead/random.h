#pragma once

#include <cstdint>

#include "grouphead/tensor.h"

namespace grouphead {

/// Where one random draw happens: a counter-based generator is a pure function of this key and the
/// element's index, so neither threads nor tiles change its numbers.
struct RandomKey {
  std::uint64_t seed = 0;
  std::uint64_t draw = 0;
};

/// Hands out one RandomKey per draw. Its whole state is two numbers, so a checkpoint can hold it.
class RandomStream {
 public:
  explicit RandomStream(std::uint64_t seed, std::uint64_t next_draw = 0) noexcept
      : seed_(seed), next_draw_(next_draw) {}
  RandomKey next() noexcept { return {seed_, next_draw_++}; }
  std::uint64_t seed() const noexcept { return seed_; }
  std::uint64_t next_draw() const noexcept { return next_draw_; }

 private:
  std::uint64_t seed_;
  std::uint64_t next_draw_;
};

/// Philox4x32-10: four uniform 32-bit words for counter `block` under `key`.
/// Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3".
struct PhiloxBlock {
  std::uint32_t words[4];
};
PhiloxBlock philox4x32(RandomKey key, std::uint64_t block) noexcept;

/// Standard normal numbers by Box and Muller's rule from Philox words.
Tensor random_normal(const Shape& shape, std::uint64_t seed);

}  // namespace grouphead
