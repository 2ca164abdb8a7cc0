#pragma once

// How far what a file holds may grow in memory.

#include "grouphead/core/tensor.h"

namespace grouphead::io {

/// Bytes in memory for each byte in the file, at most; a damaged small file may claim more.
inline constexpr Index kLargestExpansion = 100;

/// Whether `bytes` in memory are more than 64 MiB, and more than that for each `stored` one.
constexpr bool expands_too_far(Index bytes, Index stored) noexcept {
  constexpr Index kSmall = Index{64} << 20;
  return bytes > kSmall && bytes / kLargestExpansion > stored;
}

}  // namespace grouphead::io
