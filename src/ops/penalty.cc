#include "ops/penalty.h"

#include <cmath>
#include <vector>

#include "ops/rowwise.h"

namespace grouphead::ops {
namespace {

constexpr std::string_view kName = "penalty";
constexpr double kSmallestNorm = 1e-7;  // keras.config.epsilon()
constexpr Index kRowsPerUnit = 8;       // of the square matrix of cosines

// JAX's derivative of |x|.
template <class F>
F sign(F x) noexcept {
  return x >= 0 ? F{1} : F{-1};
}

/// The vectors of a matrix with norm 1, as rows, and transposed, so that the loops below run over
/// contiguous elements.
template <class F>
struct UnitVectors {
  UnitVectors(ConstView x, Vectors vectors)
      : count(x.dim(vectors == Vectors::rows ? 0 : 1)),
        length(x.dim(vectors == Vectors::rows ? 1 : 0)),
        stride(vectors == Vectors::rows ? length : 1),
        step(vectors == Vectors::rows ? 1 : count),
        norms(static_cast<std::size_t>(count)),
        rows(static_cast<std::size_t>(count * length)),
        columns(rows.size()) {
    const F* from = x.data<F>();
    for (Index i = 0; i < count; ++i) {
      double squares = 0;
      for (Index k = 0; k < length; ++k) {
        const double value = from[i * stride + k * step];
        squares += value * value;
      }
      norms[at(i)] = std::sqrt(squares);
      const double inverse = 1 / std::max(norms[at(i)], kSmallestNorm);
      for (Index k = 0; k < length; ++k) {
        const F value = static_cast<F>(from[i * stride + k * step] * inverse);
        rows[at(i * length + k)] = value;
        columns[at(k * count + i)] = value;
      }
    }
  }

  static std::size_t at(Index i) noexcept { return static_cast<std::size_t>(i); }

  /// out [count] = the cosines of vector i with all vectors.
  void cosines(Index i, F* out) const noexcept {
    std::fill_n(out, count, F{0});
    for (Index k = 0; k < length; ++k) {
      const F factor = rows[at(i * length + k)];
      const F* column = columns.data() + k * count;
      for (Index j = 0; j < count; ++j) out[j] += factor * column[j];
    }
  }

  Index count, length;
  Index stride, step;  // of the matrix: from vector to vector, from number to number
  std::vector<double> norms;
  std::vector<F> rows, columns;
};

void require_matrix(const ConstView& x) {
  core::require_shape("orthogonal_regularizer", "x", x, {-1, -1});
  core::require_contiguous("orthogonal_regularizer", "x", x);
}

double num_pairs(Index count) noexcept {
  return static_cast<double>(count) * static_cast<double>(count - 1) / 2;
}

// d = the gradient of sum over j != i of |cos(i, j)|, by vector i; twice, for both orders.
template <class F>
void gradient_of_vector(const UnitVectors<F>& units, Index i, F* cosines, F* d) noexcept {
  units.cosines(i, cosines);
  std::fill_n(d, units.length, F{0});
  for (Index j = 0; j < units.count; ++j) {
    if (j == i) continue;
    const F factor = 2 * sign(cosines[j]);
    const F* other = units.rows.data() + j * units.length;
    for (Index k = 0; k < units.length; ++k) d[k] += factor * other[k];
  }
  const double norm = units.norms[static_cast<std::size_t>(i)];
  const F* own = units.rows.data() + i * units.length;
  double along = 0;
  for (Index k = 0; k < units.length; ++k) along += static_cast<double>(d[k]) * own[k];
  if (norm < kSmallestNorm) along = 0;  // the divisor is a constant there
  const double inverse = norm == 0 ? 0 : 1 / std::max(norm, kSmallestNorm);
  for (Index k = 0; k < units.length; ++k) d[k] = static_cast<F>((d[k] - along * own[k]) * inverse);
}

}  // namespace

double sum_of_magnitudes(Context& ctx, ConstView x) {
  double sum = 0;
  with_float_type(kName, "x", x, [&](auto zero) {
    using F = decltype(zero);
    require_elements(kName, "x", x, x.size(), kDtypeOf<F>);
    sum = sum_of_blocks(ctx, x.size(), kBlockElements, [&](Index begin, Index end) {
      double part = 0;
      for (Index i = begin; i < end; ++i) part += std::abs(static_cast<double>(x.data<F>()[i]));
      return part;
    });
  });
  return sum;
}

void add_penalty_gradient(Context& ctx, ConstView x, double magnitudes, double squares, View d_x) {
  with_float_type(kName, "x", x, [&](auto zero) {
    using F = decltype(zero);
    require_elements(kName, "x", x, x.size(), kDtypeOf<F>);
    require_elements(kName, "d_x", d_x, x.size(), kDtypeOf<F>);
    const F* values = x.data<F>();
    F* d = d_x.data<F>();
    const F by_sign = static_cast<F>(magnitudes);
    const F by_value = static_cast<F>(2 * squares);
    for_blocks(ctx, x.size(), kBlockElements, [&](Index begin, Index end) {
      for (Index i = begin; i < end; ++i) d[i] += by_sign * sign(values[i]);
      if (squares == 0) return;  // 0 times infinity would be NaN
      for (Index i = begin; i < end; ++i) d[i] += by_value * values[i];
    });
  });
}

double mean_cosine(Context& ctx, ConstView x, Vectors vectors) {
  require_matrix(x);
  double sum = 0;
  with_float_type(kName, "x", x, [&](auto zero) {
    using F = decltype(zero);
    const UnitVectors<F> units(x, vectors);
    sum = sum_of_blocks(ctx, units.count, kRowsPerUnit, [&](Index begin, Index end) {
      std::vector<F> cosines(static_cast<std::size_t>(units.count));
      double part = 0;
      for (Index i = begin; i < end; ++i) {
        units.cosines(i, cosines.data());
        for (Index j = 0; j < units.count; ++j) {
          if (j != i) part += std::abs(static_cast<double>(cosines[static_cast<std::size_t>(j)]));
        }
      }
      return part;
    });
    sum = units.count > 1 ? sum / (2 * num_pairs(units.count)) : 0;
  });
  return sum;
}

void add_mean_cosine_gradient(Context& ctx, ConstView x, Vectors vectors, double scale, View d_x) {
  require_matrix(x);
  with_float_type(kName, "x", x, [&](auto zero) {
    using F = decltype(zero);
    require_elements(kName, "d_x", d_x, x.size(), kDtypeOf<F>);
    const UnitVectors<F> units(x, vectors);
    if (units.count < 2) return;
    const F share = static_cast<F>(scale / (2 * num_pairs(units.count)));
    for_blocks(ctx, units.count, kRowsPerUnit, [&](Index begin, Index end) {
      std::vector<F> cosines(static_cast<std::size_t>(units.count));
      std::vector<F> d(static_cast<std::size_t>(units.length));
      for (Index i = begin; i < end; ++i) {
        gradient_of_vector(units, i, cosines.data(), d.data());
        F* to = d_x.data<F>() + i * units.stride;
        for (Index k = 0; k < units.length; ++k) {
          to[k * units.step] += share * d[static_cast<std::size_t>(k)];
        }
      }
    });
  });
}

}  // namespace grouphead::ops
