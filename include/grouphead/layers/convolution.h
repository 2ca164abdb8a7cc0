#pragma once

#include "grouphead/layers/activation.h"
#include "grouphead/layers/initializers.h"
#include "grouphead/layers/windows.h"

#pragma GCC visibility push(default)
namespace grouphead {
namespace detail {

template <int kAxes>
struct ConvConfig {
  Index filters = 0;               ///< N >= 1
  AxisSizes<kAxes> kernel_size{};  ///< K
  AxisSizes<kAxes> strides = equal_sizes<kAxes>(1);
  Padding padding = Padding::valid;  ///< causal: Conv1D alone
  DataFormat data_format = DataFormat::channels_last;
  AxisSizes<kAxes> dilation_rate = equal_sizes<kAxes>(1);  ///< above 1 with strides of 1 alone
  Index groups = 1;  ///< G: channels and filters in as many separate parts
  Activation activation = Activation::linear;
  bool use_bias = true;
  Initializer kernel_initializer = initializers::glorot_uniform();
  Initializer bias_initializer = initializers::zeros();
  Regularizer kernel_regularizer{};
  Regularizer bias_regularizer{};
  Regularizer activity_regularizer{};
  Constraint kernel_constraint{};
  Constraint bias_constraint{};
  std::string name = kAxes == 1 ? "conv1d" : "conv2d";
  DtypePolicy dtype{};
};

template <int kAxes>
struct DepthwiseConvConfig {
  AxisSizes<kAxes> kernel_size{};
  AxisSizes<kAxes> strides = equal_sizes<kAxes>(1);
  Padding padding = Padding::valid;  ///< not causal
  Index depth_multiplier = 1;        ///< D: filters of each channel
  DataFormat data_format = DataFormat::channels_last;
  AxisSizes<kAxes> dilation_rate = equal_sizes<kAxes>(1);
  Activation activation = Activation::linear;
  bool use_bias = true;
  Initializer depthwise_initializer = initializers::glorot_uniform();
  Initializer bias_initializer = initializers::zeros();
  Regularizer depthwise_regularizer{};
  Regularizer bias_regularizer{};
  Regularizer activity_regularizer{};
  Constraint depthwise_constraint{};
  Constraint bias_constraint{};
  std::string name = kAxes == 1 ? "depthwise_conv1d" : "depthwise_conv2d";
  DtypePolicy dtype{};
};

template <int kAxes>
struct SeparableConvConfig {
  Index filters = 0;  ///< N >= 1
  AxisSizes<kAxes> kernel_size{};
  AxisSizes<kAxes> strides = equal_sizes<kAxes>(1);
  Padding padding = Padding::valid;  ///< not causal
  DataFormat data_format = DataFormat::channels_last;
  AxisSizes<kAxes> dilation_rate = equal_sizes<kAxes>(1);
  Index depth_multiplier = 1;  ///< D: filters of each channel, before they are mixed
  Activation activation = Activation::linear;
  bool use_bias = true;
  Initializer depthwise_initializer = initializers::glorot_uniform();
  Initializer pointwise_initializer = initializers::glorot_uniform();
  Initializer bias_initializer = initializers::zeros();
  Regularizer depthwise_regularizer{};
  Regularizer pointwise_regularizer{};
  Regularizer bias_regularizer{};
  Regularizer activity_regularizer{};
  Constraint depthwise_constraint{};
  Constraint pointwise_constraint{};
  Constraint bias_constraint{};
  std::string name = kAxes == 1 ? "separable_conv1d" : "separable_conv2d";
  DtypePolicy dtype{};
};

enum class ConvolutionKind : int { full, depthwise, separable };

/// How a weight starts and what holds it.
struct WeightRules {
  Initializer initializer{};
  Regularizer regularizer{};
  Constraint constraint{};
};

struct ConvolutionSettings {
  ConvolutionKind kind = ConvolutionKind::full;
  WindowConfig windows{};
  Index filters = 0;
  Index depth_multiplier = 1;
  Index groups = 1;
  Activation activation = Activation::linear;
  bool use_bias = true;
  WeightRules kernel{};  // the depthwise one, where there is one
  WeightRules pointwise{};
  WeightRules bias{};
};

/// What the convolutions share.
class Convolution : public Layer {
 public:
  ConfigValue get_config() const override;
  std::vector<Shape> output_shapes(std::span<const Shape> inputs,
                                   const CallArguments* arguments) const override;
  std::vector<Value> forward(Context& ctx, std::span<const Value> in, const Mode& mode,
                             std::unique_ptr<Saved>* saved) const override;
  void backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out, std::span<View> d_in,
                Grads& grads) const override;
  void append_parameters(const std::string& prefix, ParameterList& out) override;

 protected:
  template <class Config>
  Convolution(const Config& config, ConvolutionSettings settings)
      : Layer(config.name, config.dtype, config.activity_regularizer),
        settings_(std::move(settings)) {
    check();
  }
  void create_parameters(std::span<const Shape> inputs, RandomStream& random) override;
  Tensor typed_call(Context& ctx, const LayerInput& x,
                    std::unique_ptr<Saved>* saved) const override;

 private:
  void check() const;
  Index channels_of(const Shape& input) const;
  /// Filters of the convolution with kernel_.
  Index kernel_filters() const noexcept;
  std::unique_ptr<Parameter> make_weight(std::string name, const Shape& shape,
                                         const WeightRules& rules, RandomStream& random) const;
  void round(View x) const;

  ConvolutionSettings settings_;
  Index channels_ = 0;  // 0 before build()
  std::unique_ptr<Parameter> kernel_;
  std::unique_ptr<Parameter> pointwise_;  // null unless separable
  std::unique_ptr<Parameter> bias_;       // null without use_bias
};

}  // namespace detail

using Conv1DConfig = detail::ConvConfig<1>;
using Conv2DConfig = detail::ConvConfig<2>;
using DepthwiseConv1DConfig = detail::DepthwiseConvConfig<1>;
using DepthwiseConv2DConfig = detail::DepthwiseConvConfig<2>;
using SeparableConv1DConfig = detail::SeparableConvConfig<1>;
using SeparableConv2DConfig = detail::SeparableConvConfig<2>;

/// y[t] = activation(sum over k of x[t strides + k dilation_rate - padding in front] kernel[k]
/// + bias), with zeros where x has no step.
///
/// Shapes   x [B, T, M] (channels_first: [B, M, T]), kernel [K, M / G, N], bias [N], y [B, T', N]
///          (channels_first: [B, N, T']); T' = ceil(T / strides) with zeros around x, else
///          floor((T - (K - 1) dilation_rate - 1) / strides) + 1. Group g takes channels
///          g M / G ... of x and makes filters g N / G ... of y.
/// Mask     lost, as in Keras
/// Memory   besides x and y about 2 MB
/// Errors   ConfigError for sizes below 1 or above 2^20, filters that groups do not divide, and
///          strides above 1 with a dilation_rate above 1; ShapeError for channels that groups do
///          not divide, and for an input shorter than the window
/// Source   keras.layers.Conv1D
class Conv1D final : public detail::Convolution {
 public:
  using Config = Conv1DConfig;
  explicit Conv1D(const Conv1DConfig& config);
  std::string_view class_name() const override { return "Conv1D"; }
};

/// Conv1D's sum over two axes: x [B, H, W, M] (channels_first: [B, M, H, W]),
/// kernel [Kh, Kw, M / G, N], y [B, H', W', N]. Source: keras.layers.Conv2D.
class Conv2D final : public detail::Convolution {
 public:
  using Config = Conv2DConfig;
  explicit Conv2D(const Conv2DConfig& config);
  std::string_view class_name() const override { return "Conv2D"; }
};

/// Each channel convolved with D filters of its own: kernel [K, M, D], bias [M D],
/// y [B, T', M D], where filter d of channel m is y's channel m D + d. Else as Conv1D.
/// Source: keras.layers.DepthwiseConv1D.
class DepthwiseConv1D final : public detail::Convolution {
 public:
  using Config = DepthwiseConv1DConfig;
  explicit DepthwiseConv1D(const DepthwiseConv1DConfig& config);
  std::string_view class_name() const override { return "DepthwiseConv1D"; }
};

/// The same over two axes. Source: keras.layers.DepthwiseConv2D.
class DepthwiseConv2D final : public detail::Convolution {
 public:
  using Config = DepthwiseConv2DConfig;
  explicit DepthwiseConv2D(const DepthwiseConv2DConfig& config);
  std::string_view class_name() const override { return "DepthwiseConv2D"; }
};

/// A depthwise convolution without bias, then a product with pointwise_kernel [1, M D, N], and the
/// bias [N]. Source: keras.layers.SeparableConv1D.
class SeparableConv1D final : public detail::Convolution {
 public:
  using Config = SeparableConv1DConfig;
  explicit SeparableConv1D(const SeparableConv1DConfig& config);
  std::string_view class_name() const override { return "SeparableConv1D"; }
};

/// The same over two axes: pointwise_kernel [1, 1, M D, N]. Source: keras.layers.SeparableConv2D.
class SeparableConv2D final : public detail::Convolution {
 public:
  using Config = SeparableConv2DConfig;
  explicit SeparableConv2D(const SeparableConv2DConfig& config);
  std::string_view class_name() const override { return "SeparableConv2D"; }
};

}  // namespace grouphead
#pragma GCC visibility pop
