#pragma once

// Matrix products by oneDNN. onednn.cc is the only file that knows it.
//
// Each call of oneDNN is sequential and covers one work unit; our threads run the units. oneDNN's
// AVX-512 products take weights in one blocked form for every number of rows and sum each element
// over ascending depth, so a row's bits depend on that row alone. Its older kernels do neither (and
// pack the weights anew in each call, with megabytes from malloc), so they are not used.

#include "ops/linear.h"
#include "ops/packed_weights.h"

namespace grouphead::ops::onednn {

/// Whether this Context's products go through oneDNN: level avx3, and oneDNN not capped below it.
bool usable(const Context& ctx) noexcept;

/// Weights [depth, columns] of a product: element (d, c) is data[d * row_stride + c *
/// column_stride]. `packed` keeps the copy; null: used once.
struct Weights {
  const float* data;
  Index depth, columns;
  Index row_stride, column_stride;
  PackedWeights* packed;
  detail::Pass pass;
};

struct Finish {
  const float* bias;  // [columns] or null
  Epilogue epilogue;
  Write write;
};

/// y = finish(x w) or y += x w, with x [rows, depth] and y [rows, columns]; nothing empty.
void multiply(Context& ctx, Index rows, const float* x, const Weights& w, const Finish& finish,
              float* y);

/// d_w += x^T d_y with x [rows, depth], d_y [rows, columns]: `row_block` rows at a time, ascending.
void add_weight_gradient(Context& ctx, Index rows, Index depth, Index columns, Index row_block,
                         const float* x, const float* d_y, float* d_w);

}  // namespace grouphead::ops::onednn
