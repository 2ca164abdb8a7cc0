#pragma once

#include "kernels/attention/cache.h"

namespace grouphead::kernels {

inline constexpr Index kInt8Rows = 4;

/// to[i][j] = sum_d (k_j)_d (q_i)_d of kInt8Rows queries and the kPackKeys keys of a tile
/// [4][words][16][4] of unsigned bytes; queries [kInt8Rows][words][4], signed. If not 0, asks for
/// memory `ahead` bytes early.
using Int8Products = void (*)(const std::uint8_t* tile, const std::int8_t* queries, Index words,
                              Index ahead, std::int32_t* to) noexcept;

/// What stands in for the instructions below at this level: integers, so the same ones. Null at
/// `ref`, which has none.
Int8Products int8_substitute(Level level) noexcept;

/// By the processor's instruction for it, vpdpbusd or sdot; null where it has none.
Int8Products int8_instruction() noexcept;

/// By vpdpbusd. Only where has_vpdpbusd().
void int8_products_vnni(const std::uint8_t* tile, const std::int8_t* queries, Index words,
                        Index ahead, std::int32_t* to) noexcept;
/// By sdot. Only where has_sdot().
void int8_products_sdot(const std::uint8_t* tile, const std::int8_t* queries, Index words,
                        Index ahead, std::int32_t* to) noexcept;

/// ARM multiplies signed bytes by signed ones, those of a tile less kCacheZero: what its sums are
/// short of, from a query of `words` words.
inline std::int32_t missing_products(const std::int8_t* query, Index words) noexcept {
  std::int32_t sum = 0;
  for (Index d = 0; d < 4 * words; ++d) sum += query[d];
  return kCacheZero * sum;
}

}  // namespace grouphead::kernels
