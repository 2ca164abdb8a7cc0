#pragma once

#include "kernels/attention/problem.h"

namespace grouphead::kernels {

inline constexpr Index kInt8Rows = 4;

/// to[i][j] = sum_d (k_j)_d (q_i)_d of kInt8Rows queries and the kPackKeys keys of a tile
/// [4][words][16][4] of unsigned bytes; queries [kInt8Rows][words][4], signed. If not 0, asks for
/// memory `ahead` bytes early.
using Int8Products = void (*)(const std::uint8_t* tile, const std::int8_t* queries, Index words,
                              Index ahead, std::int32_t* to) noexcept;

/// What stands in for vpdpbusd at this level: integers, so the same ones. Null at `ref`, which
/// has none.
Int8Products int8_substitute(Level level) noexcept;

/// By vpdpbusd. Only where has_vpdpbusd().
void int8_products_vnni(const std::uint8_t* tile, const std::int8_t* queries, Index words,
                        Index ahead, std::int32_t* to) noexcept;

}  // namespace grouphead::kernels
