#include "kernels/philox.h"

#include "grouphead/random.h"

namespace grouphead {

// Here and not in core: the vector version shares the constants.
PhiloxBlock philox4x32(RandomKey key, std::uint64_t block) noexcept {
  const kernels::PhiloxWords c = kernels::philox(key.seed, key.draw, block);
  return {{c.words[0], c.words[1], c.words[2], c.words[3]}};
}

}  // namespace grouphead
