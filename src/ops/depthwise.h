#pragma once

#include "ops/convolution.h"

namespace grouphead::ops {

// The convolutions of problems with one channel for each group, which ops/convolution.h has
// checked.

void depthwise_forward(Context& ctx, const ConvolutionProblem& problem, ConstView x, ConstView w,
                       ConstView bias, View y);
void depthwise_backward_input(Context& ctx, const ConvolutionProblem& problem, ConstView d_y,
                              ConstView w, View d_x);
void depthwise_backward_weights(Context& ctx, const ConvolutionProblem& problem, ConstView x,
                                ConstView d_y, View d_w, View d_bias);

}  // namespace grouphead::ops
