#pragma once

// Matrix products by the kernels of src/kernels/gemm/gemm.h.

#include <variant>

#include "kernels/gemm/gemm.h"
#include "ops/byte_product.h"
#include "ops/packed_weights.h"

namespace grouphead::ops::packed_gemm {

/// y = finish(x w) or y += x w, with x [rows, depth] and y [rows, columns]; rows, columns > 0.
/// Weights are kept in the form that w.packed asks for.
void multiply(Context& ctx, const kernels::GemmKernels& table, Index rows, const SpacedRows& x,
              const Weights& w, const Finish& finish, float* y);

/// y = x w of weights in 8 bits.
void multiply(Context& ctx, const kernels::GemmKernels& table, Index rows, const float* x,
              const ByteWeights& w, float* y);

/// Weights whose copy w.packed keeps, in the form that it asks for.
using AnyPanels = std::variant<kernels::Panels<float>, kernels::Panels<std::uint16_t>,
                               kernels::Panels<std::int8_t>>;
AnyPanels kept_panels(Context& ctx, const kernels::GemmKernels& table, const Weights& w);

/// Whether few rows are multiplied with these weights as they lie, which reads them once.
bool reads_in_place(const kernels::GemmKernels& table, Index rows, const Weights& w) noexcept;

/// y = x w where reads_in_place().
void multiply_in_place(Context& ctx, const kernels::GemmKernels& table, Index rows, const float* x,
                       const Weights& w, float* y);

/// d_w += x^T d_y with x [rows, depth], d_y [rows, columns]: kGradientRows rows at a time,
/// ascending. d_bias (null: none) as add_bias_gradient(), while d_y is in cache.
void add_weight_gradient(Context& ctx, const kernels::GemmKernels& table, Index rows, Index depth,
                         Index columns, const float* x, const float* d_y, float* d_w,
                         float* d_bias);

/// d_bias += the column sums of d_y [rows, columns], in the same blocks of rows.
void add_bias_gradient(Context& ctx, const kernels::GemmKernels& table, Index rows, Index columns,
                       const float* d_y, float* d_bias);

}  // namespace grouphead::ops::packed_gemm
