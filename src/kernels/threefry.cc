#include "kernels/threefry.h"

#include "grouphead/random.h"

namespace grouphead {

// Here and not in core: the vector version shares the constants.
std::uint32_t threefry2x32(RandomKey key, std::uint64_t index) noexcept {
  return kernels::threefry({key.seed, key.draw}, index);
}

}  // namespace grouphead
