#pragma once

#include "kernels/cpu/level.h"

namespace grouphead::kernels {

/// Between f32 and bf16; the same numbers at every level.
struct ConvertKernels {
  void (*widen)(const std::uint16_t* from, Index count, float* to) noexcept;
  /// Nearest, ties to even; NaN stays NaN.
  void (*narrow)(const float* from, Index count, std::uint16_t* to) noexcept;
};

const ConvertKernels& convert_kernels(Level level) noexcept;

}  // namespace grouphead::kernels
