#pragma once

#include <span>
#include <vector>

#include "grouphead/core/tensor.h"

namespace grouphead::parallel {

/// Which of `size` processes keeps the state of each tensor of so many elements: each has a run of
/// neighbours, of about as many elements as the others.
std::vector<int> owners_of(std::span<const Index> elements, int size);

}  // namespace grouphead::parallel
