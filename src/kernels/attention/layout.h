#pragma once

// How keys and values lie in memory, packed for a call or stored in a cache.

#include "kernels/cpu/level.h"

namespace grouphead::kernels {

inline constexpr Index kPanelKeys = 16;  // keys side by side in a packed panel [D][16]
inline constexpr Index kPackKeys =
    64;  // positions that one pack unit stores, and of a cache's tile

constexpr Index min(Index a, Index b) noexcept { return a < b ? a : b; }
constexpr Index max(Index a, Index b) noexcept { return a > b ? a : b; }
constexpr Index ceil_div(Index a, Index b) noexcept { return (a + b - 1) / b; }
constexpr Index round_up(Index a, Index b) noexcept { return ceil_div(a, b) * b; }

}  // namespace grouphead::kernels
