#pragma once

// Weights in fewer bits. Plain code: the same numbers at every level.

#include <cstdint>

#include "kernels/gemm/reference.h"

namespace grouphead::kernels {

/// One panel of weights [depth, width], or a whole dense matrix, to bf16.
void narrow(Index depth, Index width, const float* panel, std::uint16_t* to) noexcept;
/// The same to 8-bit numbers w / scale, with a scale for each column: its greatest |w| / 127. A
/// column that is not finite gets the scale NaN; one of numbers below 2^-100 the scale 0.
void narrow(Index depth, Index width, const float* panel, std::int8_t* to, float* scales) noexcept;

}  // namespace grouphead::kernels
