#include "parallel/owners.h"

#include <algorithm>
#include <numeric>

namespace grouphead::parallel {

// By the middle of each tensor in the row of all elements.
std::vector<int> owners_of(std::span<const Index> elements, int size) {
  const Index total =
      std::max<Index>(1, std::accumulate(elements.begin(), elements.end(), Index{0}));
  std::vector<int> owners;
  Index before = 0;
  for (const Index count : elements) {
    const Index middle = before + count / 2;
    owners.push_back(static_cast<int>(std::min<Index>(middle * size / total, size - 1)));
    before += count;
  }
  return owners;
}

}  // namespace grouphead::parallel
