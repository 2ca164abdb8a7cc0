#pragma once

// Matrix products of the projections, forward and backward.

#include <memory>

#include "grouphead/core/context.h"

namespace grouphead::ops {

/// Reordered copies of one weight matrix, for y = x W and for d_x = d_y W^T. Made at first use
/// after invalidate(); safe for concurrent readers.
class PackedWeights {
 public:
  PackedWeights();
  ~PackedWeights();
  void invalidate() noexcept;

  /// What the copies for y = x W are from here on: f32, bf16, or u8 for 8-bit numbers with a scale
  /// for each column. Not while a product runs.
  void keep_as(Dtype form) noexcept;
  Dtype form() const noexcept;

  struct Impl;
  Impl& impl() noexcept { return *impl_; }

 private:
  std::unique_ptr<Impl> impl_;
};

/// What follows a product. `gelu` (exact) is for inference: training keeps the pre-activation.
enum class Epilogue : std::uint8_t { none, gelu };
/// Whether a result replaces its output or is added to it.
enum class Write : std::uint8_t { overwrite, add };

/// y = epilogue(x w + bias).
/// Shapes  x [..., K] contiguous, or a matrix whose rows are and lie K elements or more apart;
///         w [K, N] (or any shape of K * N elements, row-major), bias [N] or absent, y [..., N]
///         contiguous. f32, or f64 by the reference. With packed.form() in fewer bits sums are
///         those of x and the numbers as kept, f32 as well. Where x is f32, w may also be a matrix
///         [K, N] of f32, bf16 or f16 with one stride of 1, as Parameter::source() gives it.
/// Bits    a row of y depends on its row of x alone, whatever the number of rows and threads
/// Grid    bf16: the values of x and w are bf16's, as those of a layer in bf16. Then the product is
///         one of bf16, with sums in f32, where the level has kernels for it
void linear_forward(Context& ctx, ConstView x, ConstView w, PackedWeights& packed, ConstView bias,
                    Epilogue epilogue, View y, Dtype grid = Dtype::f32);

/// d_x = d_y w^T, or d_x += with Write::add. Shapes, bits and grid as above; d_y is rounded to it.
void linear_backward_input(Context& ctx, ConstView d_y, ConstView w, PackedWeights& packed,
                           Write write, View d_x, Dtype grid = Dtype::f32);

/// For a layer's backward. Errors: ConfigError where packed.form() is not f32: fewer bits are for
/// inference.
void require_whole_weights(const PackedWeights& packed);

/// d_w += x^T d_y; d_bias += column sums of d_y (if present). Either may be absent. Rows are taken
/// in fixed blocks, ascending, so threads do not change the bits. Grid as above, for d_w.
void linear_backward_weights(Context& ctx, ConstView x, ConstView d_y, View d_w, View d_bias,
                             Dtype grid = Dtype::f32);

/// c = a b (transposed as told): the plain product behind `gemm` problems, b not packed before.
/// Shapes  a [M, K], b [K, N], c [M, N].
void gemm(Context& ctx, ConstView a, ConstView b, View c);

}  // namespace grouphead::ops
