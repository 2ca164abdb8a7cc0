// The convolutions' configurations, both ways.

#include "grouphead/layers/convolution.h"
#include "nn/attention/projection_config.h"
#include "nn/base_config.h"
#include "nn/layers/windows.h"
#include "nn/registry.h"

namespace grouphead {
namespace {

template <class Config>
detail::WindowConfig windows_of(const Config& config, int axes) {
  return {.axes = axes,
          .size = detail::both_axes(config.kernel_size),
          .strides = detail::both_axes(config.strides),
          .dilation = detail::both_axes(config.dilation_rate),
          .padding = config.padding,
          .data_format = config.data_format};
}

template <class Config>
detail::WeightRules bias_rules(const Config& config) {
  return {config.bias_initializer, config.bias_regularizer, config.bias_constraint};
}

template <class Config>
detail::WeightRules depthwise_rules(const Config& config) {
  return {config.depthwise_initializer, config.depthwise_regularizer, config.depthwise_constraint};
}

template <int kAxes>
detail::ConvolutionSettings settings_of(const detail::ConvConfig<kAxes>& config) {
  return {
      .kind = detail::ConvolutionKind::full,
      .windows = windows_of(config, kAxes),
      .filters = config.filters,
      .groups = config.groups,
      .activation = config.activation,
      .use_bias = config.use_bias,
      .kernel = {config.kernel_initializer, config.kernel_regularizer, config.kernel_constraint},
      .bias = bias_rules(config)};
}

template <int kAxes>
detail::ConvolutionSettings settings_of(const detail::DepthwiseConvConfig<kAxes>& config) {
  return {.kind = detail::ConvolutionKind::depthwise,
          .windows = windows_of(config, kAxes),
          .depth_multiplier = config.depth_multiplier,
          .activation = config.activation,
          .use_bias = config.use_bias,
          .kernel = depthwise_rules(config),
          .bias = bias_rules(config)};
}

template <int kAxes>
detail::ConvolutionSettings settings_of(const detail::SeparableConvConfig<kAxes>& config) {
  return {.kind = detail::ConvolutionKind::separable,
          .windows = windows_of(config, kAxes),
          .filters = config.filters,
          .depth_multiplier = config.depth_multiplier,
          .activation = config.activation,
          .use_bias = config.use_bias,
          .kernel = depthwise_rules(config),
          .pointwise = {config.pointwise_initializer, config.pointwise_regularizer,
                        config.pointwise_constraint},
          .bias = bias_rules(config)};
}

void write_rules(std::string_view weight, const detail::WeightRules& rules, ConfigValue& out) {
  const std::string prefix(weight);
  out.set(prefix + "_initializer", rules.initializer.config());
  out.set(prefix + "_regularizer", rules.regularizer.config());
  out.set(prefix + "_constraint", rules.constraint.config());
}

}  // namespace

ConfigValue detail::Convolution::get_config() const {
  ConfigValue config = Layer::get_config();
  const detail::ConvolutionSettings& s = settings_;
  const bool is_full = s.kind == detail::ConvolutionKind::full;
  if (!is_full) config.set("depth_multiplier", s.depth_multiplier);
  if (s.kind != detail::ConvolutionKind::depthwise) config.set("filters", s.filters);
  config.set("kernel_size", nn::sizes_config(s.windows.size, s.windows.axes));
  config.set("strides", nn::sizes_config(s.windows.strides, s.windows.axes));
  config.set("padding", name_of(s.windows.padding));
  config.set("data_format", name_of(s.windows.data_format));
  config.set("dilation_rate", nn::sizes_config(s.windows.dilation, s.windows.axes));
  if (is_full) config.set("groups", s.groups);
  config.set("activation", s.activation.config());
  config.set("use_bias", s.use_bias);
  write_rules(is_full ? "kernel" : "depthwise", s.kernel, config);
  if (s.kind == detail::ConvolutionKind::separable) write_rules("pointwise", s.pointwise, config);
  write_rules("bias", s.bias, config);
  config.set("activity_regularizer", activity_regularizer().config());
  return config;
}

Conv1D::Conv1D(const Conv1DConfig& config) : Convolution(config, settings_of(config)) {}
Conv2D::Conv2D(const Conv2DConfig& config) : Convolution(config, settings_of(config)) {}
DepthwiseConv1D::DepthwiseConv1D(const DepthwiseConv1DConfig& config)
    : Convolution(config, settings_of(config)) {}
DepthwiseConv2D::DepthwiseConv2D(const DepthwiseConv2DConfig& config)
    : Convolution(config, settings_of(config)) {}
SeparableConv1D::SeparableConv1D(const SeparableConv1DConfig& config)
    : Convolution(config, settings_of(config)) {}
SeparableConv2D::SeparableConv2D(const SeparableConv2DConfig& config)
    : Convolution(config, settings_of(config)) {}

namespace nn {
namespace {

/// What all of them have: windows, activation, bias.
template <int kAxes, class Config>
void read_common(ConfigReader& reader, Config& config) {
  read_base(reader, config);
  config.kernel_size = read_sizes<kAxes>(reader, "kernel_size", config.kernel_size);
  config.strides = read_sizes<kAxes>(reader, "strides", config.strides);
  config.dilation_rate = read_sizes<kAxes>(reader, "dilation_rate", config.dilation_rate);
  config.padding = padding_from_name(reader.string("padding", "valid"));
  config.data_format = data_format_from_name(reader.string("data_format", "channels_last"));
  config.activation = reader.activation();
  config.use_bias = reader.boolean("use_bias", true);
  config.bias_initializer = reader.choice("bias_initializer", config.bias_initializer);
  config.bias_regularizer = reader.choice("bias_regularizer", config.bias_regularizer);
  config.bias_constraint = reader.choice("bias_constraint", config.bias_constraint);
}

template <class Config>
void read_depthwise(ConfigReader& reader, Config& config) {
  config.depth_multiplier = reader.integer("depth_multiplier", 1);
  config.depthwise_initializer =
      reader.choice("depthwise_initializer", config.depthwise_initializer);
  config.depthwise_regularizer =
      reader.choice("depthwise_regularizer", config.depthwise_regularizer);
  config.depthwise_constraint = reader.choice("depthwise_constraint", config.depthwise_constraint);
}

template <class L, int kAxes>
std::shared_ptr<Layer> make_conv(std::string_view class_name, const ConfigValue& given) {
  ConfigReader reader(class_name, given);
  typename L::Config config;
  read_common<kAxes>(reader, config);
  config.filters = reader.integer("filters", 0);
  config.groups = reader.integer("groups", 1);
  read_projection_rules(reader, config);
  require_plain_weights(reader, config.name);
  reader.finish();
  return with_trainable(std::make_shared<L>(config), given);
}

template <class L, int kAxes>
std::shared_ptr<Layer> make_depthwise(std::string_view class_name, const ConfigValue& given) {
  ConfigReader reader(class_name, given);
  typename L::Config config;
  read_common<kAxes>(reader, config);
  read_depthwise(reader, config);
  reader.finish();
  return with_trainable(std::make_shared<L>(config), given);
}

template <class L, int kAxes>
std::shared_ptr<Layer> make_separable(std::string_view class_name, const ConfigValue& given) {
  ConfigReader reader(class_name, given);
  typename L::Config config;
  read_common<kAxes>(reader, config);
  config.filters = reader.integer("filters", 0);
  read_depthwise(reader, config);
  config.pointwise_initializer =
      reader.choice("pointwise_initializer", config.pointwise_initializer);
  config.pointwise_regularizer =
      reader.choice("pointwise_regularizer", config.pointwise_regularizer);
  config.pointwise_constraint = reader.choice("pointwise_constraint", config.pointwise_constraint);
  reader.finish();
  return with_trainable(std::make_shared<L>(config), given);
}

}  // namespace

std::shared_ptr<Layer> make_conv_1d(const ConfigValue& config) {
  return make_conv<Conv1D, 1>("Conv1D", config);
}
std::shared_ptr<Layer> make_conv_2d(const ConfigValue& config) {
  return make_conv<Conv2D, 2>("Conv2D", config);
}
std::shared_ptr<Layer> make_depthwise_conv_1d(const ConfigValue& config) {
  return make_depthwise<DepthwiseConv1D, 1>("DepthwiseConv1D", config);
}
std::shared_ptr<Layer> make_depthwise_conv_2d(const ConfigValue& config) {
  return make_depthwise<DepthwiseConv2D, 2>("DepthwiseConv2D", config);
}
std::shared_ptr<Layer> make_separable_conv_1d(const ConfigValue& config) {
  return make_separable<SeparableConv1D, 1>("SeparableConv1D", config);
}
std::shared_ptr<Layer> make_separable_conv_2d(const ConfigValue& config) {
  return make_separable<SeparableConv2D, 2>("SeparableConv2D", config);
}

}  // namespace nn
}  // namespace grouphead
