#include <cmath>
#include <numbers>

#include "grouphead/core/random.h"

namespace grouphead {

Tensor random_normal(const Shape& shape, std::uint64_t seed) {
  Tensor out(shape);
  float* values = out.data<float>();
  for (Index i = 0; i < out.size(); i += 4) {  // four words give two pairs
    const PhiloxBlock block =
        philox4x32({.seed = seed, .draw = 0}, static_cast<std::uint64_t>(i / 4));
    for (Index j = 0; j < 4 && i + j < out.size(); ++j) {
      const Index pair = j / 2 * 2;
      const double u = (block.words[pair] + 0.5) * 0x1p-32;
      const double angle = 2 * std::numbers::pi * block.words[pair + 1] * 0x1p-32;
      const double wave = j % 2 == 0 ? std::cos(angle) : std::sin(angle);
      values[i + j] = static_cast<float>(std::sqrt(-2 * std::log(u)) * wave);
    }
  }
  return out;
}

}  // namespace grouphead
