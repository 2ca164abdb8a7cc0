#pragma once

#include <array>
#include <type_traits>

#include "grouphead/layers/reshaping.h"

#pragma GCC visibility push(default)
namespace grouphead {

/// What stands around an input that windows slide over: nothing; zeros on both sides, for
/// ceil(length / stride) windows; or zeros in front alone, so that no window sees what comes later.
enum class Padding : int { valid, same, causal };
std::string_view name_of(Padding padding) noexcept;
/// Errors: ConfigError that lists the known names.
Padding padding_from_name(std::string_view name);

namespace detail {

/// A number for each spatial axis.
template <int kAxes>
using AxisSizes = std::conditional_t<kAxes == 1, Index, std::array<Index, 2>>;

/// The same number for each.
template <int kAxes>
constexpr AxisSizes<kAxes> equal_sizes(Index size) {
  if constexpr (kAxes == 1) {
    return size;
  } else {
    return {size, size};
  }
}

/// Windows over one or two spatial axes; of one, the second entries are 1.
struct WindowConfig {
  int axes = 1;
  std::array<Index, 2> size{1, 1};
  std::array<Index, 2> strides{1, 1};
  std::array<Index, 2> dilation{1, 1};
  Padding padding = Padding::valid;
  DataFormat data_format = DataFormat::channels_last;
};

constexpr std::array<Index, 2> both_axes(Index size) { return {size, 1}; }
constexpr std::array<Index, 2> both_axes(const std::array<Index, 2>& sizes) { return sizes; }

}  // namespace detail
}  // namespace grouphead
#pragma GCC visibility pop
