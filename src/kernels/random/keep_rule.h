#pragma once

#include "kernels/random/philox.h"
#include "kernels/random/threefry.h"

namespace grouphead::kernels {

/// Which elements of a dropout draw are kept: those whose word reaches the threshold. Element e has
/// word e % 4 of Philox block e / 4, or the complement of its Threefry bits: JAX keeps the small
/// ones.
struct KeepRule {
  bool threefry = false;
  std::uint64_t seed = 0;
  std::uint64_t draw = 0;
  std::uint32_t threshold = 0;

  bool keeps(std::uint64_t element) const noexcept {
    const std::uint32_t word = threefry ? ~kernels::threefry({seed, draw}, element)
                                        : philox(seed, draw, element / 4).words[element % 4];
    return word >= threshold;
  }
};

}  // namespace grouphead::kernels
