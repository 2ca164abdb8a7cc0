// The random words of random.h: the constants are the kernels', whose vector version shares them.

#include "grouphead/core/random.h"
#include "kernels/random/philox.h"
#include "kernels/random/threefry.h"

namespace grouphead {

PhiloxBlock philox4x32(RandomKey key, std::uint64_t block) noexcept {
  const kernels::PhiloxWords c = kernels::philox(key.seed, key.draw, block);
  return {{c.words[0], c.words[1], c.words[2], c.words[3]}};
}

std::uint32_t threefry2x32(RandomKey key, std::uint64_t index) noexcept {
  return kernels::threefry({key.seed, key.draw}, index);
}

}  // namespace grouphead
