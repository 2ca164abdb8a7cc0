#include "kernels/gemm/reference.h"

namespace grouphead::kernels {
namespace {

constexpr Index kStrip = 64;  // sums kept at a time, in registers and L1

template <class F, class Weight>
void multiply(Index rows, Index columns, Index depth, Matrix<const F> a, Matrix<const Weight> b,
              bool add, Matrix<F> c) noexcept {
  for (Index first = 0; first < columns; first += kStrip) {
    const Index width = columns - first < kStrip ? columns - first : kStrip;
    for (Index r = 0; r < rows; ++r) {
      F sums[kStrip] = {};
      for (Index d = 0; d < depth; ++d) {
        const F left = a.at(r, d);
        const Matrix<const Weight> right = b.block(d, first);
        if (right.column_stride == 1) {
          for (Index j = 0; j < width; ++j) sums[j] += left * F(right.data[j]);
        } else {
          for (Index j = 0; j < width; ++j) sums[j] += left * F(right.at(0, j));
        }
      }
      for (Index j = 0; j < width; ++j) {
        F& out = c.at(r, first + j);
        out = add ? out + sums[j] : sums[j];
      }
    }
  }
}

}  // namespace

template <class F>
void gemm_reference(Index rows, Index columns, Index depth, Matrix<const F> a, Matrix<const F> b,
                    bool add, Matrix<F> c) noexcept {
  multiply(rows, columns, depth, a, b, add, c);
}

template <class F>
void byte_gemm_reference(Index rows, Index columns, Index depth, Matrix<const F> a,
                         Matrix<const std::int8_t> b, Matrix<F> c) noexcept {
  multiply(rows, columns, depth, a, b, false, c);
}

template <class F>
void add_bias_reference(Index rows, Index columns, const F* bias, Matrix<F> y) noexcept {
  for (Index r = 0; r < rows; ++r) {
    for (Index j = 0; j < columns; ++j) y.at(r, j) += bias[j];
  }
}

template <class F>
void add_column_sums_reference(Index rows, Index columns, Matrix<const F> a, F* sums) noexcept {
  for (Index first = 0; first < columns; first += kStrip) {
    const Index width = columns - first < kStrip ? columns - first : kStrip;
    F strip[kStrip] = {};
    for (Index r = 0; r < rows; ++r) {
      for (Index j = 0; j < width; ++j) strip[j] += a.at(r, first + j);
    }
    for (Index j = 0; j < width; ++j) sums[first + j] += strip[j];
  }
}

template void gemm_reference(Index, Index, Index, Matrix<const float>, Matrix<const float>, bool,
                             Matrix<float>) noexcept;
template void gemm_reference(Index, Index, Index, Matrix<const double>, Matrix<const double>, bool,
                             Matrix<double>) noexcept;
template void byte_gemm_reference(Index, Index, Index, Matrix<const float>,
                                  Matrix<const std::int8_t>, Matrix<float>) noexcept;
template void byte_gemm_reference(Index, Index, Index, Matrix<const double>,
                                  Matrix<const std::int8_t>, Matrix<double>) noexcept;
template void add_bias_reference(Index, Index, const float*, Matrix<float>) noexcept;
template void add_bias_reference(Index, Index, const double*, Matrix<double>) noexcept;
template void add_column_sums_reference(Index, Index, Matrix<const float>, float*) noexcept;
template void add_column_sums_reference(Index, Index, Matrix<const double>, double*) noexcept;

}  // namespace grouphead::kernels
