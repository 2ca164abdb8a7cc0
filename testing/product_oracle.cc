#include "testing/product_oracle.h"

#include <cmath>

namespace grouphead::testing {

template <class F>
ProductOracle product_oracle(Index rows, Index columns, Index depth,
                             const kernels::Matrix<const F>& a, const kernels::Matrix<const F>& b) {
  const auto size = static_cast<std::size_t>(rows * columns);
  ProductOracle out{std::vector<double>(size), std::vector<double>(size)};
  std::size_t at = 0;
  for (Index r = 0; r < rows; ++r) {
    for (Index c = 0; c < columns; ++c, ++at) {
      const F* const left = a.data + r * a.row_stride;
      const F* const right = b.data + c * b.column_stride;
      double sum = 0;
      double magnitude = 0;
      for (Index d = 0; d < depth; ++d) {
        const double term = static_cast<double>(left[d * a.column_stride]) *
                            static_cast<double>(right[d * b.row_stride]);
        sum += term;
        magnitude += std::abs(term);
      }
      out.value[at] = sum;
      out.magnitude[at] = magnitude;
    }
  }
  return out;
}

template ProductOracle product_oracle(Index, Index, Index, const kernels::Matrix<const float>&,
                                      const kernels::Matrix<const float>&);
template ProductOracle product_oracle(Index, Index, Index, const kernels::Matrix<const double>&,
                                      const kernels::Matrix<const double>&);

}  // namespace grouphead::testing
