#pragma once

// What attention should give, computed in double by loops that share nothing with the kernels.

#include "grouphead/core/tensor.h"
#include "ops/attention.h"

namespace grouphead::testing {

/// A result in double and, for each element, how far rounding may carry a computed one: within
/// unit roundoff u, to first order, |computed - value| <= u * rounding. It follows from the number
/// of additions behind each sum and the magnitude of its terms, whatever their order: n roundings
/// give n, or 4 sqrt(n) where that is less. They are independent and of either sign, so a sum is
/// beyond it once in a thousand at most if each were as large as it can be, which none is; the
/// worst case of a million additions would let anything pass.
/// Source: Higham & Mary 2019, SIAM J. Sci. Comput. 41(5), theorem 2.4
struct OracleResult {
  Tensor value{};     // f64
  Tensor rounding{};  // f64, the same shape
  /// f64, the same shape, in units of 2^-8: what it adds that kernels of bf16 round factors of
  /// their products (probabilities, gradients of logits) and the output that a backward reads.
  Tensor bf16{};
};

/// One bound per element for a result of this type. A double result is compared with an oracle
/// that rounds as well: twice the bound.
Tensor bounds_of(const OracleResult& result, Dtype dtype);

struct AttentionForwardOracle {
  OracleResult out{};  // [B, T, Hq, Dv]
  OracleResult lse{};  // [B, Hq, T]
};
struct AttentionBackwardOracle {
  OracleResult d_q{}, d_k{}, d_v{};
  OracleResult d_bias{};   // of options.bias, if any
  OracleResult d_sinks{};  // of options.sinks, if any
};

/// The same of a result of kernels of bf16, which `dtype` says how it is stored: a bound of f32,
/// what their factors add, and in bf16 the rounding of the result.
Tensor bf16_bounds(const OracleResult& result, Dtype dtype);

/// attention() of f32 or f64 operands, any strides.
/// Memory  O(S) beside the results
AttentionForwardOracle attention_forward_oracle(ConstView q, ConstView k, ConstView v,
                                                const AttentionOptions& options);

/// ops::attention_scores: [B, Hq, T, S].
OracleResult attention_scores_oracle(ConstView q, ConstView k, const AttentionOptions& options);

/// The gradients for the upstream gradients of the output and, if given, of the scores.
AttentionBackwardOracle attention_backward_oracle(ConstView q, ConstView k, ConstView v,
                                                  ConstView d_out, const AttentionOptions& options,
                                                  ConstView d_scores = {});

}  // namespace grouphead::testing
