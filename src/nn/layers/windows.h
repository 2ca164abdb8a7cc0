#pragma once

// What the layers of sliding windows share: their arguments, shapes, and the two data formats.

#include "grouphead/layers/windows.h"
#include "nn/config_reader.h"
#include "ops/windows.h"

namespace grouphead::nn {

/// What a window's sizes, and the numbers of steps that layers put around an input, may be at most:
/// a bound for what files ask for.
inline constexpr Index kMaxWindow = Index{1} << 20;

/// Errors: ConfigError unless low <= size <= kMaxWindow.
void require_size(std::string_view layer, std::string_view key, Index size, Index low);
/// Errors: ConfigError for sizes, strides and dilations outside 1 to kMaxWindow, and for causal
/// windows over two axes. `size_key`: kernel_size or pool_size.
void require_windows(std::string_view layer, std::string_view size_key,
                     const detail::WindowConfig& windows);

/// The size of a spatial axis (-1: unknown). Errors: ShapeError for one that no memory holds.
Index spatial_size(std::string_view layer, const Shape& input, int axis);

/// `channels` and the spatial sizes in the format's order.
Shape in_format(DataFormat format, Index batch, std::span<const Index> sizes, Index channels);
inline int channel_axis(DataFormat format, int axes) {
  return format == DataFormat::channels_last ? axes + 1 : 1;
}
inline int first_spatial_axis(DataFormat format) {
  return format == DataFormat::channels_last ? 1 : 2;
}

/// The shape of an output with so many channels (-1: the input's), for an input whose sizes may be
/// unknown. Errors: ShapeError for another rank, or an input too short for a window.
Shape windowed_shape(std::string_view layer, const detail::WindowConfig& windows,
                     const Shape& input, Index channels);

/// The windows over x [B, H, W, M].
ops::Windows windows_over(const detail::WindowConfig& windows, const Shape& x);

/// x as [B, H, W, M], with H = 1 where there is one spatial axis; moved where the format asks.
Tensor with_channels_last(Context& ctx, DataFormat format, const Tensor& x);
Tensor with_channels_last(Context& ctx, DataFormat format, ConstView x);
/// y [B, H, W, M] in the format and of `shape`.
Tensor with_format(Context& ctx, DataFormat format, const Shape& shape, const Tensor& y);
/// d_x += add(view of [B, H, W, M]): d_x itself, or a tensor of zeros that is moved then.
template <class Add>
void add_with_format(Context& ctx, DataFormat format, View d_x, Add&& add);

/// One integer for all axes, or a list with one each; `fallback` when absent or null.
/// Errors: ConfigError.
template <int kAxes>
detail::AxisSizes<kAxes> read_sizes(ConfigReader& reader, std::string_view key,
                                    detail::AxisSizes<kAxes> fallback);
/// A list, as Keras writes them.
ConfigValue sizes_config(const std::array<Index, 2>& sizes, int axes);

/// [B, H, W, M] of a shape of rank 3 or 4 in the format.
Shape channels_last_shape(DataFormat format, const Shape& shape);
/// The axes of a tensor in the format, in the order of [B, (H,) W, M].
std::vector<int> channels_last_order(DataFormat format, int rank);
void add_moved(Context& ctx, DataFormat format, ConstView from, View to);
std::array<Index, 2> read_size_list(ConfigReader& reader, std::string_view key, int axes,
                                    std::array<Index, 2> fallback);

template <class Add>
void add_with_format(Context& ctx, DataFormat format, View d_x, Add&& add) {
  const Shape shape = channels_last_shape(format, d_x.shape());
  if (format == DataFormat::channels_last) return add(d_x.reshaped(shape));
  Tensor moved = ctx.zeros(shape, d_x.dtype());
  add(moved.view());
  add_moved(ctx, format, moved, d_x);
}

template <int kAxes>
detail::AxisSizes<kAxes> read_sizes(ConfigReader& reader, std::string_view key,
                                    detail::AxisSizes<kAxes> fallback) {
  const auto sizes = read_size_list(reader, key, kAxes, detail::both_axes(fallback));
  if constexpr (kAxes == 1) {
    return sizes[0];
  } else {
    return sizes;
  }
}

}  // namespace grouphead::nn
