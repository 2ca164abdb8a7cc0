#pragma once

// Matrix products of bf16 values with sums in f32, on factors in blocks.

#include <cstdint>

#include "kernels/cpu/level.h"

namespace grouphead::kernels {

inline constexpr Index kBf16Columns = 16;  // of a panel; rows and columns come in whole 16
inline constexpr Index kBf16Depth = 32;    // of a block; the depth comes in whole blocks

/// Left factor: element (i, k) is data[i * row + k / 32 * block + k % 32].
struct Bf16Left {
  const std::uint16_t* data;
  Index row, block;
};
/// Right factor, by pairs of k: element (k, j) is data[k / 2 * step + j / 16 * panel + j % 16 * 2 +
/// k % 2].
struct Bf16Right {
  const std::uint16_t* data;
  Index step, panel;
};

struct Bf16Products {
  /// A panel [depth / 2][16][2] of a right factor: element (k, j) is from[k * row + j], of which
  /// rows and columns [valid_rows, valid_columns) exist; zeros behind.
  void (*pack)(const std::uint16_t* from, Index row, Index valid_rows, Index valid_columns,
               Index depth, std::uint16_t* to) noexcept;
  /// The same where element (k, j) is from[j * row + k].
  void (*pack_transposed)(const std::uint16_t* from, Index row, Index valid_rows,
                          Index valid_columns, Index depth, std::uint16_t* to) noexcept;
  /// A block of a left factor, [width][32] with row 32: element (i, k) is from[k * row + i] of 32
  /// rows k; width: whole 16. `buffer`: 32 width elements.
  void (*transpose)(const std::uint16_t* from, Index row, Index width, std::uint16_t* buffer,
                    std::uint16_t* to) noexcept;
  /// c = a b or c += a b; one chain of sums of ascending k for each element.
  void (*multiply)(const Bf16Left& a, const Bf16Right& b, Index rows, Index columns, Index depth,
                   bool add, float* c, Index c_row) noexcept;
};

/// Null below level avx3_bf16; of level avx3_amx also where that is not available.
const Bf16Products* bf16_products(Level level) noexcept;
/// Those of level avx3_amx; null where this build has none.
const Bf16Products* amx_products() noexcept;

}  // namespace grouphead::kernels
