#pragma once

// Windows that slide over the two spatial axes of x [B, rows.in, columns.in, M]: what convolutions
// and poolings have in common. One axis is `columns`, with one row.

#include <algorithm>

#include "grouphead/layers/windows.h"

namespace grouphead::ops {

/// Window o covers the elements first(o) + k dilation, k < size, of those that exist.
struct WindowAxis {
  Index in = 1, out = 1;
  Index size = 1, stride = 1, dilation = 1;
  Index before = 0;  // elements in front of the first that do not exist

  Index first(Index o) const noexcept { return o * stride - before; }
  Index extent() const noexcept { return (size - 1) * dilation + 1; }
  bool has(Index i) const noexcept { return i >= 0 && i < in; }
  /// The k < size whose element exists: [first, second).
  std::pair<Index, Index> taps(Index o) const noexcept {
    const Index start = first(o);
    if (start >= 0 && start + extent() <= in) return {0, size};
    const Index low = start >= 0 ? 0 : (-start + dilation - 1) / dilation;
    const Index high = start >= in ? 0 : (in - 1 - start) / dilation + 1;
    return {std::min(low, size), std::max(std::min(high, size), std::min(low, size))};
  }
  /// The window whose element k is i; -1 where there is none.
  Index window_with(Index i, Index k) const noexcept {
    const Index at = i + before - k * dilation;
    if (at < 0 || (stride != 1 && at % stride != 0)) return -1;
    const Index o = stride == 1 ? at : at / stride;
    return o < out ? o : -1;
  }
};

/// How many windows there are; 0 or less where the input is too short for one.
inline Index num_windows(Index in, Index size, Index stride, Index dilation, Padding padding) {
  if (padding != Padding::valid) return (in + stride - 1) / stride;
  const Index left = in - ((size - 1) * dilation + 1);
  return left < 0 ? 0 : left / stride + 1;
}

inline WindowAxis window_axis(Index in, Index size, Index stride, Index dilation, Padding padding) {
  WindowAxis axis{in, num_windows(in, size, stride, dilation, padding), size, stride, dilation, 0};
  if (padding == Padding::causal) axis.before = (size - 1) * dilation;
  if (padding == Padding::same && axis.out > 0) {
    axis.before = std::max<Index>((axis.out - 1) * stride + axis.extent() - in, 0) / 2;
  }
  return axis;
}

struct Windows {
  Index batch = 0;
  WindowAxis rows{}, columns{};

  Index taps() const noexcept { return rows.size * columns.size; }
  Index inputs() const noexcept { return rows.in * columns.in; }     // of one entry of the batch
  Index outputs() const noexcept { return rows.out * columns.out; }  // likewise
};

}  // namespace grouphead::ops
