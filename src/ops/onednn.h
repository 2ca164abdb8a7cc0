#pragma once

// Matrix products by oneDNN. onednn.cc is the only file that knows it.
//
// Each call of oneDNN is sequential and covers one work unit; our threads run the units. oneDNN's
// AVX-512 products take weights in one blocked form for every number of rows and sum each element
// over ascending depth, so a row's bits depend on that row alone. Its older kernels do neither (and
// pack the weights anew in each call, with megabytes from malloc), so ops/packed_gemm.h serves
// there. It also serves weight gradients: oneDNN wants x transposed first.

#include "ops/linear.h"
#include "ops/packed_weights.h"

namespace grouphead::ops::onednn {

/// Whether this Context's products go through oneDNN: level avx3 or above, oneDNN not capped below
/// it, and its static objects not destroyed, as they may be while the process exits.
bool usable(const Context& ctx);

/// y = finish(x w) or y += x w, with x [rows, depth] and y [rows, columns]; nothing empty. False,
/// and y as it was, where oneDNN is not usable any more.
bool multiply(Context& ctx, Index rows, const SpacedRows& x, const Weights& w, const Finish& finish,
              float* y);

}  // namespace grouphead::ops::onednn
