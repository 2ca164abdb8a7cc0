#pragma once

// What a matrix product should give, computed in double by plain loops.

#include <vector>

#include "grouphead/core/tensor.h"
#include "kernels/gemm/reference.h"

namespace grouphead::testing {

/// A product in double, row by row, and the sum of the terms' magnitudes, to which errors are
/// relative.
struct ProductOracle {
  std::vector<double> value, magnitude;
};

/// a b, for float and double.
template <class F>
ProductOracle product_oracle(Index rows, Index columns, Index depth,
                             const kernels::Matrix<const F>& a, const kernels::Matrix<const F>& b);

}  // namespace grouphead::testing
