#include "nn/layers/windows.h"

#include <vector>

#include "nn/layer_checks.h"
#include "nn/shapes.h"
#include "ops/strided.h"

namespace grouphead {

std::string_view name_of(Padding padding) noexcept {
  switch (padding) {
    case Padding::valid:
      return "valid";
    case Padding::same:
      return "same";
    case Padding::causal:
      break;
  }
  return "causal";
}

Padding padding_from_name(std::string_view name) {
  for (const Padding padding : {Padding::valid, Padding::same, Padding::causal}) {
    if (name == name_of(padding)) return padding;
  }
  core::throw_config_error("padding", "name", "valid, same or causal", name);
}

namespace nn {
namespace {

std::size_t index(int axis) { return static_cast<std::size_t>(axis); }

}  // namespace

void require_size(std::string_view layer, std::string_view key, Index size, Index low) {
  if (size >= low && size <= kMaxWindow) return;
  core::throw_config_error(layer, key, std::to_string(low) + " to " + std::to_string(kMaxWindow),
                           std::to_string(size));
}

void require_windows(std::string_view layer, std::string_view size_key,
                     const detail::WindowConfig& windows) {
  for (int axis = 0; axis < windows.axes; ++axis) {
    require_size(layer, size_key, windows.size[index(axis)], 1);
    require_size(layer, "strides", windows.strides[index(axis)], 1);
    require_size(layer, "dilation_rate", windows.dilation[index(axis)], 1);
  }
  if (windows.padding == Padding::causal && windows.axes != 1) {
    core::throw_config_error(layer, "padding", "valid or same", "causal");
  }
}

Index spatial_size(std::string_view layer, const Shape& input, int axis) {
  constexpr Index kLargest = Index{1} << 40;
  if (input[axis] <= kLargest) return input[axis];
  core::throw_shape_error(layer, "input", "at most 2^40 steps on axis " + std::to_string(axis),
                          input.to_string());
}

Shape in_format(DataFormat format, Index batch, std::span<const Index> sizes, Index channels) {
  std::vector<Index> dims{batch};
  if (format == DataFormat::channels_first) dims.push_back(channels);
  dims.insert(dims.end(), sizes.begin(), sizes.end());
  if (format == DataFormat::channels_last) dims.push_back(channels);
  return Shape::partial(dims);
}

Shape windowed_shape(std::string_view layer, const detail::WindowConfig& windows,
                     const Shape& input, Index channels) {
  if (input.rank() != windows.axes + 2) {
    core::throw_shape_error(layer, "input", "rank " + std::to_string(windows.axes + 2),
                            input.to_string());
  }
  const int first = first_spatial_axis(windows.data_format);
  std::array<Index, 2> sizes{};
  for (int axis = 0; axis < windows.axes; ++axis) {
    const std::size_t i = index(axis);
    const Index in = spatial_size(layer, input, first + axis);
    const Index extent = (windows.size[i] - 1) * windows.dilation[i] + 1;
    if (in >= 0 && in < extent && windows.padding == Padding::valid) {
      core::throw_shape_error(
          layer, "input",
          std::to_string(extent) + " or more on axis " + std::to_string(first + axis),
          input.to_string());
    }
    sizes[i] = in < 0 ? -1
                      : ops::num_windows(in, windows.size[i], windows.strides[i],
                                         windows.dilation[i], windows.padding);
  }
  if (channels < 0) channels = input[channel_axis(windows.data_format, windows.axes)];
  return in_format(windows.data_format, input[0],
                   std::span<const Index>(sizes).first(index(windows.axes)), channels);
}

ops::Windows windows_over(const detail::WindowConfig& windows, const Shape& x) {
  const auto axis = [&](Index in, std::size_t i) {
    return ops::window_axis(in, windows.size[i], windows.strides[i], windows.dilation[i],
                            windows.padding);
  };
  ops::Windows over{.batch = x[0]};
  if (windows.axes == 2) over.rows = axis(x[1], 0);
  over.columns = axis(x[2], windows.axes == 2 ? 1 : 0);
  return over;
}

std::vector<int> channels_last_order(DataFormat format, int rank) {
  std::vector<int> order;
  for (int axis = 0; axis < rank; ++axis) order.push_back(axis);
  if (format == DataFormat::channels_first) {
    std::rotate(order.begin() + 1, order.begin() + 2, order.end());
  }
  return order;
}

Shape channels_last_shape(DataFormat format, const Shape& shape) {
  const Shape last = ops::permuted(shape, channels_last_order(format, shape.rank()));
  return shape.rank() == 4 ? last : Shape{last[0], 1, last[1], last[2]};
}

Tensor with_channels_last(Context& ctx, DataFormat format, const Tensor& x) {
  if (format == DataFormat::channels_last)
    return x.reshaped(channels_last_shape(format, x.shape()));
  return with_channels_last(ctx, format, x.view());
}

Tensor with_channels_last(Context& ctx, DataFormat format, ConstView x) {
  Tensor moved = ctx.tensor(channels_last_shape(format, x.shape()), x.dtype());
  const ConstView from = ops::permuted(x, channels_last_order(format, x.rank()));
  ops::copy_elements(ctx, from, moved.view().reshaped(from.shape()));
  return moved;
}

Tensor with_format(Context& ctx, DataFormat format, const Shape& shape, const Tensor& y) {
  if (format == DataFormat::channels_last) return y.reshaped(shape);
  Tensor out = ctx.tensor(shape, y.dtype());
  const View to = ops::permuted(out.view(), channels_last_order(format, shape.rank()));
  ops::copy_elements(ctx, y.view().reshaped(to.shape()), to);
  return out;
}

void add_moved(Context& ctx, DataFormat format, ConstView from, View to) {
  const View moved = ops::permuted(to, channels_last_order(format, to.rank()));
  ops::add_elements(ctx, from.reshaped(moved.shape()), moved);
}

std::array<Index, 2> read_size_list(ConfigReader& reader, std::string_view key, int axes,
                                    std::array<Index, 2> fallback) {
  const ConfigValue& value = reader.value(key);
  if (value.is_null()) return fallback;
  std::array<Index, 2> sizes{1, 1};
  if (value.is_integer()) {
    std::fill_n(sizes.begin(), axes, value.as_integer(key));
    return sizes;
  }
  const ConfigValue::List& list = value.as_list(key);
  if (list.size() != index(axes)) {
    core::throw_config_error("config", key, "an integer, or " + std::to_string(axes) + " of them",
                             value.to_string());
  }
  for (std::size_t i = 0; i < list.size(); ++i) sizes[i] = list[i].as_integer(key);
  return sizes;
}

ConfigValue sizes_config(const std::array<Index, 2>& sizes, int axes) {
  return ConfigValue::List(sizes.begin(), sizes.begin() + axes);
}

}  // namespace nn
}  // namespace grouphead
