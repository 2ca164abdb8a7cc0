#pragma once

// Convolutions (cross-correlations, as everywhere) of x [B, H, W, M] with w [Kh, Kw, M / groups, N]
// to y [B, H', W', N]: products of patches of x with w, by ops/linear, a block of patches of about
// 2 MB at a time. With one channel for each group (depthwise) the sums are taken directly. Tensors
// are contiguous, f32 or f64. Bits do not depend on the number of threads; those of y and d_x not
// on the batch either.

#include "ops/linear.h"
#include "ops/windows.h"

namespace grouphead::ops {

struct ConvolutionProblem {
  Windows windows{};
  Index channels = 0;  // M
  Index filters = 0;   // N
  Index groups = 1;
};

/// y = conv(x, w) + bias, which may be absent.
void convolution_forward(Context& ctx, const ConvolutionProblem& problem, ConstView x, ConstView w,
                         PackedWeights& packed, ConstView bias, View y);
/// d_x += what the gradients d_y give.
void convolution_backward_input(Context& ctx, const ConvolutionProblem& problem, ConstView d_y,
                                ConstView w, PackedWeights& packed, View d_x);
/// d_w and d_bias += what the gradients d_y give; either may be absent.
void convolution_backward_weights(Context& ctx, const ConvolutionProblem& problem, ConstView x,
                                  ConstView d_y, View d_w, View d_bias);

}  // namespace grouphead::ops
