#pragma once

// How oneDNN's products are cut into units, by their shapes alone.

#include <algorithm>

#include "grouphead/core/tensor.h"

namespace grouphead::ops::onednn {

/// Few rows are cut by columns: strips of at most so many weights and multiply-adds, but not too
/// many of them, for each call of oneDNN allocates some 270 bytes.
inline constexpr Index kFewRows = 64;
inline constexpr Index kStripWeights = Index{1} << 17;
inline constexpr Index kStripWork = Index{1} << 20;
inline constexpr Index kMaxStrips = 16;
/// Columns of one block of oneDNN's form; strips are multiples of it. Rows that it likes to take.
inline constexpr Index kFormColumns = 64;
inline constexpr Index kFormRowTile = 8;

constexpr Index round_up(Index value, Index unit) { return (value + unit - 1) / unit * unit; }
constexpr Index ceil_div(Index value, Index unit) { return (value + unit - 1) / unit; }

/// The units of a cut into `count` or a few more: an even number, for two threads to share.
constexpr Index even_units(Index count) { return count <= 1 ? 1 : round_up(count, 2); }

/// Rows of one unit: large blocks reuse the weights, and several units per thread balance.
constexpr Index row_block_of(Index rows) {
  const Index most = rows >= 2048 ? 256 : rows >= 512 ? 128 : kFewRows;
  return std::min(rows, round_up(ceil_div(rows, even_units(ceil_div(rows, most))), kFormRowTile));
}

/// Columns of one strip; all of them where a cut does not pay.
constexpr Index strip_of(Index rows, Index depth, Index columns) {
  const Index most = std::min(kStripWeights, kStripWork / rows);
  const Index strips = even_units(ceil_div(depth * columns, most));
  return round_up(ceil_div(columns, std::min(strips, kMaxStrips)), kFormColumns);
}

}  // namespace grouphead::ops::onednn
