#pragma once

// The functions that gates of recurrent cells apply, on runs of f32.

#include "kernels/cpu/level.h"
#include "kernels/rowwise/rowwise.h"

namespace grouphead::kernels {

/// y may be x. NaN stays NaN.
struct SaturatingKernels {
  void (*sigmoid)(const float* x, Index count, float* y) noexcept;
  void (*tanh)(const float* x, Index count, float* y) noexcept;
};

const SaturatingKernels& saturating_kernels(Level level) noexcept;

}  // namespace grouphead::kernels
