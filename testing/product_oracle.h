#pragma once

// What a matrix product should give, computed in double by plain loops.

#include <vector>

#include "grouphead/core/tensor.h"

namespace grouphead::testing {

/// A product in double, row by row, and the sum of the terms' magnitudes, to which errors are
/// relative.
struct ProductOracle {
  std::vector<double> value, magnitude;
};

/// A matrix with strides, in elements.
template <class F>
struct StridedMatrix {
  const F* data;
  Index row, column;
};

/// a b, for float and double.
template <class F>
ProductOracle product_oracle(Index rows, Index columns, Index depth, const StridedMatrix<F>& a,
                             const StridedMatrix<F>& b);

}  // namespace grouphead::testing
