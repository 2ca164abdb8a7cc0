#pragma once

// Embedding lookup. f32 through the kernels of the Context's level, f64 through the references.
// Tensors are contiguous unless said.

#include "grouphead/core/context.h"

namespace grouphead::ops {

/// y[row] = table[tokens[row]]. Shapes: tokens i32 with one element a row, table [V, M] of y's type
/// or, for y of f32, of bf16 or f16; y [rows, M] in any shape.
/// Errors  ShapeError for a token outside [0, V)
void embedding_forward(Context& ctx, ConstView tokens, ConstView table, View y);
/// d_table[tokens[row]] += d_y[row], rows ascending.
void embedding_backward(Context& ctx, ConstView tokens, ConstView d_y, View d_table);

}  // namespace grouphead::ops
