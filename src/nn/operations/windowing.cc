// Convolutions and poolings as operations, by what the layers of their names compute with.

#include <array>

#include "core/check.h"
#include "nn/layers/windows.h"
#include "nn/operations/traced.h"
#include "ops/convolution.h"
#include "ops/window_pooling.h"

namespace grouphead::nn {
namespace {

using namespace steps;
using Results = std::vector<Var>;
using Sizes = std::array<Index, 2>;  // of rows and columns; rows are 1 where there is one axis

/// What all of them are told.
struct Sliding {
  explicit Sliding(const TracedCall& call, const Shape& shape) : name(call.name()) {
    axes = shape.rank() - 2;
    if (axes != 1 && axes != 2) {
      core::throw_shape_error(name, "inputs", "rank 3 or 4", shape.to_string());
    }
    const ConfigValue& format = call["data_format"];
    const std::string text = format.is_null() ? "channels_last" : format.as_string("data_format");
    if (text != "channels_last" && text != "channels_first") {
      core::throw_config_error(name, "data_format", "channels_last or channels_first", text);
    }
    is_first = text == "channels_first";
    const ConfigValue& kind = call["padding"];
    const std::string pads = kind.is_null() ? "valid" : kind.as_string("padding");
    if (pads != "valid" && pads != "same") {
      core::throw_config_error(name, "padding", "valid or same", pads);
    }
    padding = pads == "same" ? Padding::same : Padding::valid;
    dilation = sizes(call, "dilation_rate", {1, 1});
  }

  Sizes sizes(const TracedCall& call, std::string_view key, const Sizes& fallback) const {
    const ConfigValue& value = call[key];
    if (value.is_null()) return fallback;
    Sizes made{1, 1};
    const auto read = [&](const ConfigValue& one) {
      const Index given = one.as_integer(key);
      require_size(name, key, given, 1);
      return given;
    };
    if (value.is_integer()) {
      made[1] = read(value);
      if (axes == 2) made[0] = made[1];
      return made;
    }
    const ConfigValue::List& list = value.as_list(key);
    if (static_cast<int>(list.size()) != axes) {
      core::throw_config_error(name, key, "one for each spatial axis", value.to_string());
    }
    made[1] = read(list.back());
    if (axes == 2) made[0] = read(list.front());
    return made;
  }

  /// As [B, H, W, M].
  Var received(Var x) const {
    if (is_first) x = moved(x, 1, x.rank() - 1);
    return axes == 1 ? expanded(x, 1) : x;
  }
  Var leaving(Var y) const {
    if (axes == 1) y = squeezed(y, 1);
    return is_first ? moved(y, y.rank() - 1, 1) : y;
  }

  ops::Windows over(const Shape& x) const {
    ops::Windows windows;
    windows.batch = x[0];
    windows.rows = ops::window_axis(x[1], size[0], strides[0], dilation[0], padding);
    windows.columns = ops::window_axis(x[2], size[1], strides[1], dilation[1], padding);
    return windows;
  }

  Shape shape_over(const Shape& x, Index channels) const {
    const auto out = [&](int axis) {
      const auto i = static_cast<std::size_t>(axis);
      const Index in = x[axis + 1];
      if (in < 0) return Index{-1};
      const Index count = ops::num_windows(in, size[i], strides[i], dilation[i], padding);
      if (count < 1 && in > 0) {
        core::throw_shape_error(name, "inputs", "a window's size or more", x.to_string());
      }
      return std::max<Index>(count, 0);
    };
    return Shape::partial({x[0], out(0), out(1), channels});
  }

  std::string name;
  int axes = 1;
  bool is_first = false;
  Padding padding = Padding::valid;
  Sizes size{1, 1}, strides{1, 1}, dilation{1, 1};
};

/// x [B, H, W, M] with w [Kh, Kw, M / groups, N].
Var convolved(const Sliding& sliding, Var x, Var w, Index groups) {
  const Dtype dtype = w.dtype();
  const Var in = cast(x, dtype);
  const Tensor first = in.value();
  const Tensor kernel = w.value();
  ops::ConvolutionProblem problem;
  if (x.trace().computes()) problem.windows = sliding.over(x.shape());
  problem.channels = x.dim(3);
  problem.filters = w.dim(3);
  problem.groups = groups;
  return x.trace().step(
      {in, w}, sliding.shape_over(x.shape(), w.dim(3)), {dtype, false},
      [&](Context& ctx, Tensor& y) {
        ops::PackedWeights packed;
        ops::convolution_forward(ctx, problem, first, kernel, packed, {}, y);
      },
      [problem, first, kernel](Context& ctx, const Tensor& d_y, std::span<const View> d_x) {
        ops::PackedWeights packed;
        if (d_x[0].has_value()) {
          ops::convolution_backward_input(ctx, problem, d_y, kernel, packed, d_x[0]);
        }
        if (d_x[1].has_value()) {
          ops::convolution_backward_weights(ctx, problem, first, d_y, d_x[1], {});
        }
      });
}

/// The kernel as [Kh, Kw, .., ..], and its sizes into `sliding`.
Var kernel_of(const TracedCall& call, std::size_t place, Sliding& sliding) {
  Var w = call[place];
  if (w.rank() != sliding.axes + 2 || !w.shape().is_complete()) {
    core::throw_shape_error(call.name(), "kernel", "known sizes and inputs' rank",
                            w.shape().to_string());
  }
  if (sliding.axes == 1) w = expanded(w, 0);
  w = cast(w, floating(w.dtype()));
  sliding.size = {w.dim(0), w.dim(1)};
  return w;
}

Index channels_of(const TracedCall& call, Var x) {
  if (x.dim(3) < 1) {
    core::throw_shape_error(call.name(), "inputs", "a known number of channels",
                            x.shape().to_string());
  }
  return x.dim(3);
}

Results conv(TracedCall& call) {
  Sliding sliding(call, call[0].shape());
  sliding.strides = sliding.sizes(call, "strides", {1, 1});
  const Var w = kernel_of(call, 1, sliding);
  const Var x = sliding.received(call[0]);
  const Index channels = channels_of(call, x);
  if (w.dim(2) < 1 || channels % w.dim(2) != 0 || w.dim(3) % (channels / w.dim(2)) != 0) {
    core::throw_shape_error(call.name(), "kernel",
                            "groups of " + std::to_string(channels) + " channels",
                            w.shape().to_string());
  }
  return {sliding.leaving(convolved(sliding, x, w, channels / w.dim(2)))};
}

/// One filter set for each channel; `w` [Kh, Kw, M, multiplier].
Var depthwise(const TracedCall& call, const Sliding& sliding, Var x, Var w) {
  const Index channels = channels_of(call, x);
  if (w.dim(2) != channels) {
    core::throw_shape_error(call.name(), "kernel", std::to_string(channels) + " channels",
                            w.shape().to_string());
  }
  const Shape shape({w.dim(0), w.dim(1), 1, channels * w.dim(3)});
  return convolved(sliding, x, reshaped(w, shape), channels);
}

Results depthwise_conv(TracedCall& call) {
  Sliding sliding(call, call[0].shape());
  sliding.strides = sliding.sizes(call, "strides", {1, 1});
  const Var w = kernel_of(call, 1, sliding);
  return {sliding.leaving(depthwise(call, sliding, sliding.received(call[0]), w))};
}

Results separable_conv(TracedCall& call) {
  Sliding sliding(call, call[0].shape());
  sliding.strides = sliding.sizes(call, "strides", {1, 1});
  const Var w = kernel_of(call, 1, sliding);
  const Var each = depthwise(call, sliding, sliding.received(call[0]), w);
  Sliding points(call, call[0].shape());
  const Var mix = kernel_of(call, 2, points);
  if (points.size != Sizes{1, 1} || mix.dim(2) != each.dim(3)) {
    core::throw_shape_error(call.name(), "pointwise_kernel", "one place and as many channels",
                            mix.shape().to_string());
  }
  return {sliding.leaving(convolved(points, each, mix, 1))};
}

Sliding pooled_by(const TracedCall& call) {
  Sliding sliding(call, call[0].shape());
  sliding.size = sliding.sizes(call, "pool_size", {1, 1});
  sliding.strides = sliding.sizes(call, "strides", sliding.size);
  return sliding;
}

template <bool IsMax>
Results pool(TracedCall& call) {
  const Sliding sliding = pooled_by(call);
  const Var x = sliding.received(cast(call[0], floating(call[0].dtype())));
  const Tensor value = x.value();
  ops::Windows windows;
  if (call.trace.computes()) windows = sliding.over(x.shape());
  const Var y = call.trace.step(
      {x}, sliding.shape_over(x.shape(), x.dim(3)), x.type(),
      [&](Context& ctx, Tensor& to) {
        if (IsMax) {
          ops::max_pool_forward(ctx, windows, value, to);
        } else {
          ops::average_pool_forward(ctx, windows, value, to);
        }
      },
      [windows, value](Context& ctx, const Tensor& d_y, std::span<const View> d_x) {
        if (!d_x[0].has_value()) return;
        if (IsMax) {
          ops::max_pool_backward(ctx, windows, value, d_y, d_x[0]);
        } else {
          ops::average_pool_backward(ctx, windows, d_y, d_x[0]);
        }
      });
  return {sliding.leaving(y)};
}

constexpr OperationClass kClasses[] = {
    traced_class(kNnModule, "AveragePool", "inputs", pool<false>),
    traced_class(kNnModule, "Conv", "inputs,kernel", conv),
    traced_class(kNnModule, "DepthwiseConv", "inputs,kernel", depthwise_conv),
    traced_class(kNnModule, "MaxPool", "inputs", pool<true>),
    traced_class(kNnModule, "SeparableConv", "inputs,depthwise_kernel,pointwise_kernel",
                 separable_conv),
};

}  // namespace

std::span<const OperationClass> windowing_operations() { return kClasses; }

}  // namespace grouphead::nn
