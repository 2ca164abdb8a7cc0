// Per-target: layer normalisation, forward and backward.

#if defined(GROUPHEAD_KERNELS_NORMALIZATION_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef GROUPHEAD_KERNELS_NORMALIZATION_INL_H_
#undef GROUPHEAD_KERNELS_NORMALIZATION_INL_H_
#else
#define GROUPHEAD_KERNELS_NORMALIZATION_INL_H_
#endif

#include <cmath>

#include "kernels/cpu/lanes-inl.h"

#if GROUPHEAD_TARGET_IS_LEVEL
HWY_BEFORE_NAMESPACE();
namespace grouphead::kernels::HWY_NAMESPACE {

// (x - mean)^2
struct SquaredDistance {
  const float* x;
  Vector mean;
  HWY_INLINE Vector operator()(Index i, Index n) const {
    const Vector d = hn::Sub(load(x + i, n), mean);
    return hn::Mul(d, d);
  }
};

struct Normalize {
  const float* x;
  const float* gamma;
  const float* beta;
  Vector mean, rstd;
  float* y;
  HWY_INLINE void operator()(Index i, Index n) const {
    const Vector normed = hn::Mul(hn::Sub(load(x + i, n), mean), rstd);
    store(hn::MulAdd(normed, load(gamma + i, n), load(beta + i, n)), n, y + i);
  }
};

// Three passes over a row; the second and third find it in L1.
inline void layer_norm_forward(const float* x, const float* gamma, const float* beta,
                               double epsilon, Index rows, Index width, float* y, float* mean,
                               float* rstd) noexcept {
  const float inverse_width = 1.0F / static_cast<float>(width);
  for (Index r = 0; r < rows; ++r, x += width, y += width) {
    const float mu = sum(width, Elements{x}) * inverse_width;
    const float variance = sum(width, SquaredDistance{x, set(mu)}) * inverse_width;
    const auto scale = static_cast<float>(1.0 / std::sqrt(double{variance} + epsilon));
    for_vectors(width, Normalize{x, gamma, beta, set(mu), set(scale), y});
    if (mean != nullptr) mean[r] = mu;
    if (rstd != nullptr) rstd[r] = scale;
  }
}

// One row of the backward: x^ = (x - mean) rstd, g = d_y gamma.
struct NormRow {
  const float* x;
  const float* d_y;
  const float* gamma;
  Vector mean, rstd;
  HWY_INLINE Vector normed(Index i, Index n) const {
    return hn::Mul(hn::Sub(load(x + i, n), mean), rstd);
  }
  HWY_INLINE Vector g(Index i, Index n) const {
    return hn::Mul(load(d_y + i, n), load(gamma + i, n));
  }
};

// Adds g and g x^ to the row's sums, and, where wanted, d_y x^ and d_y to the columns' sums.
// Lanes behind the end load as d_y = 0.
template <bool kColumns>
struct NormSums {
  NormRow row;
  float* d_gamma;
  float* d_beta;
  HWY_INLINE void operator()(Index i, Index n, Vector& sum_g, Vector& sum_gx) const {
    const Vector normed = row.normed(i, n);
    const Vector g = row.g(i, n);
    sum_g = hn::Add(sum_g, g);
    sum_gx = hn::Add(sum_gx, hn::Mul(g, normed));
    if constexpr (kColumns) {
      const Vector d_y = load(row.d_y + i, n);
      store(hn::MulAdd(d_y, normed, load(d_gamma + i, n)), n, d_gamma + i);
      store(hn::Add(d_y, load(d_beta + i, n)), n, d_beta + i);
    }
  }
};

template <bool kAdd>
struct NormGradient {
  NormRow row;
  Vector mean_g, mean_gx;
  float* d_x;
  HWY_INLINE void operator()(Index i, Index n) const {
    const Vector inner = hn::NegMulAdd(row.normed(i, n), mean_gx, hn::Sub(row.g(i, n), mean_g));
    const Vector d = hn::Mul(row.rstd, inner);
    store(kAdd ? Vector(hn::Add(load(d_x + i, n), d)) : d, n, d_x + i);
  }
};

struct NormMeans {
  float g;
  float gx;
};

// Two chains for each sum, so that additions overlap.
template <bool kColumns>
HWY_INLINE NormMeans norm_means(const NormSums<kColumns>& step, Index width) {
  Vector g[2] = {hn::Zero(kFloats), hn::Zero(kFloats)};
  Vector gx[2] = {hn::Zero(kFloats), hn::Zero(kFloats)};
  Index i = 0;
  for (; i + 2 * kLanes <= width; i += 2 * kLanes) {
    step(i, kLanes, g[0], gx[0]);
    step(i + kLanes, kLanes, g[1], gx[1]);
  }
  for (; i + kLanes <= width; i += kLanes) step(i, kLanes, g[0], gx[0]);
  if (i < width) step(i, width - i, g[1], gx[1]);
  const float inverse_width = 1.0F / static_cast<float>(width);
  return {hn::GetLane(hn::SumOfLanes(kFloats, hn::Add(g[0], g[1]))) * inverse_width,
          hn::GetLane(hn::SumOfLanes(kFloats, hn::Add(gx[0], gx[1]))) * inverse_width};
}

template <bool kColumns, bool kAdd>
void layer_norm_backward_rows(const float* x, const float* gamma, const float* mean,
                              const float* rstd, const float* d_y, Index rows, Index width,
                              float* d_x, float* d_gamma, float* d_beta) noexcept {
  for (Index r = 0; r < rows; ++r, x += width, d_y += width) {
    const NormRow row = {x, d_y, gamma, set(mean[r]), set(rstd[r])};
    const NormMeans means = norm_means(NormSums<kColumns>{row, d_gamma, d_beta}, width);
    if (d_x == nullptr) continue;
    for_vectors(width, NormGradient<kAdd>{row, set(means.g), set(means.gx), d_x + r * width});
  }
}

inline void layer_norm_backward(const float* x, const float* gamma, const float* mean,
                                const float* rstd, const float* d_y, bool add_to_d_x, Index rows,
                                Index width, float* d_x, float* d_gamma, float* d_beta) noexcept {
  const bool columns = d_gamma != nullptr;
  for (Index j = 0; columns && j < width; ++j) {
    d_gamma[j] = 0;
    d_beta[j] = 0;
  }
  const auto run = columns ? (add_to_d_x ? layer_norm_backward_rows<true, true>
                                         : layer_norm_backward_rows<true, false>)
                           : (add_to_d_x ? layer_norm_backward_rows<false, true>
                                         : layer_norm_backward_rows<false, false>);
  run(x, gamma, mean, rstd, d_y, rows, width, d_x, d_gamma, d_beta);
}

}  // namespace grouphead::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif  // GROUPHEAD_TARGET_IS_LEVEL

#endif  // per-target include guard
