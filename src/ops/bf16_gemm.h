#pragma once

// Matrix products of f32 operands whose values are bf16's, by the kernels of kernels/gemm/bf16.h:
// values that are not are rounded. Each element is one chain of sums over ascending depth, so a
// row's bits depend on that row alone.

#include "kernels/gemm/bf16.h"
#include "ops/packed_weights.h"

namespace grouphead::ops::bf16_gemm {

/// y = x w + bias or y += x w, with x [rows, depth] and y [rows, columns]; nothing empty.
void multiply(Context& ctx, const kernels::Bf16Products& table, Index rows, const SpacedRows& x,
              const Weights& w, const Finish& finish, float* y);

/// d_w += x^T d_y with x [rows, depth], d_y [rows, columns]: kGradientRows rows at a time,
/// ascending. Memory  2 bytes for each element of x and d_y
void add_weight_gradient(Context& ctx, const kernels::Bf16Products& table, Index rows, Index depth,
                         Index columns, const float* x, const float* d_y, float* d_w);

}  // namespace grouphead::ops::bf16_gemm
