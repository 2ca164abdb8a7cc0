#pragma once

#include <cstdint>

namespace grouphead::kernels {

using Index = std::int64_t;

/// A matrix in memory, either way round: element (r, c) is data[r * row_stride + c *
/// column_stride].
template <class F>
struct Matrix {
  F* data;
  Index row_stride;
  Index column_stride;

  Matrix block(Index row, Index column) const noexcept {
    return {data + row * row_stride + column * column_stride, row_stride, column_stride};
  }
  Matrix transposed() const noexcept { return {data, column_stride, row_stride}; }
  F& at(Index row, Index column) const noexcept {
    return data[row * row_stride + column * column_stride];
  }
};

/// c = a b, or c += a b, with a [rows, depth] and b [depth, columns]. Each element is one sum over
/// ascending depth, started at zero, so its bits depend on its row and column alone.
template <class F>
void gemm_reference(Index rows, Index columns, Index depth, Matrix<const F> a, Matrix<const F> b,
                    bool add, Matrix<F> c) noexcept;

/// The same with weights of 8 bits and a sign, not added to c.
template <class F>
void byte_gemm_reference(Index rows, Index columns, Index depth, Matrix<const F> a,
                         Matrix<const std::int8_t> b, Matrix<F> c) noexcept;

/// Adds bias [columns] to every row of y.
template <class F>
void add_bias_reference(Index rows, Index columns, const F* bias, Matrix<F> y) noexcept;

/// sums[c] += the sum of column c, rows ascending from zero.
template <class F>
void add_column_sums_reference(Index rows, Index columns, Matrix<const F> a, F* sums) noexcept;

}  // namespace grouphead::kernels
