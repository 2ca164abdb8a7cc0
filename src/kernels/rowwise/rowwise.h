#pragma once

// Everything between the matrix products, on rows and runs of contiguous elements. Each forward
// stands next to its backward. Outputs may be an input where the pointers are equal.

#include <cstdint>

#include "kernels/cpu/level.h"
#include "kernels/random/keep_rule.h"

namespace grouphead::kernels {

using Index = std::int64_t;

/// The coefficients of one AdamW step in the element type.
template <class F>
struct AdamWCoefficients {
  F decay;             ///< lr * weight_decay
  F alpha;             ///< lr with bias correction
  F one_minus_beta_1;  ///< computed in double
  F one_minus_beta_2;
  F epsilon;
  F gradient_scale;
};

template <class F>
struct RowwiseKernels {
  /// y[r] = gamma (x[r] - mean) rstd + beta for rows of `width` elements. Keeps mean and rstd
  /// unless null.
  void (*layer_norm_forward)(const F* x, const F* gamma, const F* beta, double epsilon, Index rows,
                             Index width, F* y, F* mean, F* rstd) noexcept;
  /// d_x (+)= rstd (g - mean(g) - x^ mean(g x^)), g = d_y gamma; null: not wanted.
  /// d_gamma = sum of d_y x^, d_beta = sum of d_y over these rows, ascending; both null: not
  /// wanted.
  void (*layer_norm_backward)(const F* x, const F* gamma, const F* mean, const F* rstd,
                              const F* d_y, bool add_to_d_x, Index rows, Index width, F* d_x,
                              F* d_gamma, F* d_beta) noexcept;

  void (*gelu_forward)(const F* x, Index count, F* y) noexcept;
  void (*gelu_backward)(const F* x, const F* d_y, Index count, F* d_x) noexcept;
  void (*add)(const F* a, const F* b, Index count, F* y) noexcept;
  void (*scale)(const F* x, F a, Index count, F* y) noexcept;
  double (*sum_of_squares)(const F* x, Index count) noexcept;
  /// y = x scale where the rule keeps element first + i, else 0. `first` is a multiple of 4.
  void (*dropout)(const F* x, KeepRule rule, F scale, Index first, Index count, F* y) noexcept;
  void (*adamw)(const AdamWCoefficients<F>& step, const F* gradient, Index count, F* w, F* m,
                F* v) noexcept;

  /// d_table[tokens[r]] += d_y[r], rows ascending, `columns` elements of rows `width` apart.
  void (*embedding_backward)(const std::int32_t* tokens, const F* d_y, Index rows, Index columns,
                             Index width, F* d_table) noexcept;

  /// Turns the D/2 pairs of `heads` heads by one angle each; `sign` -1 turns back.
  void (*rope_half)(const F* cos, const F* sin, F sign, Index pairs, Index heads, Index head_stride,
                    F* x) noexcept;
  void (*rope_interleaved)(const F* cos, const F* sin, F sign, Index pairs, Index heads,
                           Index head_stride, F* x) noexcept;

  /// lse[r] = log sum exp(logits[r]) unless null; returns the sum of lse[r] - logits[r][label].
  double (*cross_entropy_forward)(const F* logits, const std::int32_t* labels, Index rows,
                                  Index width, F* lse) noexcept;
  /// d_logits = (exp(logits - lse) - onehot(label)) scale; d_logits may be logits.
  void (*cross_entropy_backward)(const F* logits, const std::int32_t* labels, const F* lse, F scale,
                                 Index rows, Index width, F* d_logits) noexcept;
};

/// The kernels of `level` for F = float, the reference for F = double.
template <class F>
const RowwiseKernels<F>& rowwise_kernels(Level level) noexcept;

}  // namespace grouphead::kernels
