// Orthonormal columns by the process of Gram and Schmidt, in double, twice for each column: what
// the first pass leaves of the others is its rounding.

#include <cmath>
#include <vector>

#include "core/check.h"
#include "ops/random_fill.h"

namespace grouphead::ops {
namespace {

double dot(const double* a, const double* b, Index length) noexcept {
  double sums[4] = {};
  Index i = 0;
  for (; i + 4 <= length; i += 4) {
    for (Index j = 0; j < 4; ++j) sums[j] += a[i + j] * b[i + j];
  }
  for (; i < length; ++i) sums[0] += a[i] * b[i];
  return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

/// Makes vector `last` of `vectors` orthogonal to those before it, with norm 1. Its product with
/// the vector it came from is positive, which is the sign that the diagonal of R asks for.
void orthonormalize(std::vector<double>& vectors, Index last, Index length) noexcept {
  double* own = vectors.data() + last * length;
  for (int pass = 0; pass < 2; ++pass) {
    for (Index i = 0; i < last; ++i) {
      const double* other = vectors.data() + i * length;
      const double share = dot(own, other, length);
      for (Index k = 0; k < length; ++k) own[k] -= share * other[k];
    }
  }
  const double norm = std::sqrt(dot(own, own, length));
  for (Index k = 0; k < length; ++k) own[k] = norm > 0 ? own[k] / norm : 0;
}

}  // namespace

void fill_orthogonal(View q, RandomKey key) {
  core::require_dense("random", "q", q, {-1, -1}, Dtype::f32);
  const Index rows = q.dim(0);
  const Index columns = q.dim(1);
  const Index length = std::max(rows, columns);
  const Index count = std::min(rows, columns);
  fill_normal(q, 0, 1, key);  // as a [length, count] matrix
  std::vector<double> vectors(static_cast<std::size_t>(q.size()));
  float* numbers = q.data<float>();
  for (Index i = 0; i < count; ++i) {
    double* own = vectors.data() + i * length;
    for (Index k = 0; k < length; ++k) own[k] = numbers[k * count + i];
    orthonormalize(vectors, i, length);
  }
  const bool are_columns = rows >= columns;
  for (Index i = 0; i < count; ++i) {
    for (Index k = 0; k < length; ++k) {
      const double value = vectors[static_cast<std::size_t>(i * length + k)];
      numbers[are_columns ? k * columns + i : i * columns + k] = static_cast<float>(value);
    }
  }
}

}  // namespace grouphead::ops
