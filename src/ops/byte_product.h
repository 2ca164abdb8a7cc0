#pragma once

// Matrix products with weights of 8 bits and a sign, as Keras's quantized layers compute them.

#include <functional>

#include "grouphead/layers/quantization.h"
#include "ops/linear.h"

namespace grouphead::ops {

/// whole = round(x scale), ties to even, cut to the range; scale = most / (max |x| + epsilon).
/// Shapes  x, whole [rows, K] and scales [rows], contiguous, f32 or f64. whole may be x.
/// Source  keras.quantizers.abs_max_quantize
void round_rows(Context& ctx, ConstView x, const InputRounding& rule, View whole, View scales);

/// Weights [depth, columns] of a product, or their transpose in memory.
struct ByteWeights {
  Index depth = 0;
  Index columns = 0;
  bool is_transposed = false;         ///< they lie as [columns, depth]
  std::function<Tensor()> numbers{};  ///< u8, whose bits are int8; asked for when they are packed
  PackedWeights* packed = nullptr;    ///< keeps them, in 8 bits
};

/// y = x w, with sums of f32 (f64 where x is): exact while they stay below 2^24 (2^53), if x is
/// whole. Shapes: x [rows, depth], y [rows, columns], contiguous.
/// Bits    as linear_forward()
void byte_product(Context& ctx, ConstView x, const ByteWeights& w, View y);

/// y = y / (row_scales column_scales) + bias; what is absent is 1, the bias 0.
/// Shapes  y [rows, N], row_scales [rows], column_scales and bias [N], contiguous, of one type
void unscale(Context& ctx, ConstView row_scales, ConstView column_scales, ConstView bias, View y);

}  // namespace grouphead::ops
