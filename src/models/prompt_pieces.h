#pragma once

#include "grouphead/core/tensor.h"

namespace grouphead {

/// Positions per call while a prompt is read: bounds the activations' memory. Pieces end at
/// multiples of it, as bits of results may depend on where they end.
inline constexpr Index kPromptPiece = 512;

}  // namespace grouphead
