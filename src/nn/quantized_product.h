#pragma once

// What quantized layers compute: Keras's `_int8_call` and `_int4_call`.

#include "nn/quantized_numbers.h"

namespace grouphead::nn {

/// Inputs of a product with a quantized kernel.
struct RoundedRows {
  ConstView x{};    ///< whole numbers, or the inputs themselves
  Tensor whole{};   ///< which hold them
  Tensor scales{};  ///< [rows]; absent where inputs are not rounded
};

/// Rows x [..., K], contiguous, rounded as the kernel asks for.
RoundedRows rounded_rows(Context& ctx, const Parameter& kernel, ConstView x);

/// y = x w + bias with a quantized w. Shapes: x [rows, K], y [rows, N], bias [N] or absent,
/// contiguous; w [K, N] in any axes, or [N, K] where `is_transposed`.
void quantized_linear(Context& ctx, const RoundedRows& x, const Parameter& w, bool is_transposed,
                      ConstView bias, View y);

/// y[row] = table[tokens[row]] of a quantized table [V, M]. Shapes: tokens i32 [rows], y [rows, M].
/// Errors: ShapeError for a token outside [0, V).
void quantized_lookup(Context& ctx, ConstView tokens, const Parameter& table, View y);

}  // namespace grouphead::nn
