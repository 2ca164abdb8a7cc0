#include "grouphead/layers/convolution.h"

#include "nn/layer_checks.h"
#include "nn/layers/windows.h"
#include "nn/loading_scope.h"
#include "nn/shapes.h"
#include "ops/activation.h"
#include "ops/convert.h"
#include "ops/convolution.h"

namespace grouphead {
namespace {

struct ConvolutionSaved final : Saved {
  Tensor x;               // [B, H, W, M]
  Tensor channelwise;     // what the pointwise product is taken of; absent without one
  Tensor pre_activation;  // in the layer's format; absent for a linear layer
};

std::span<const Index> kernel_sizes(const detail::WindowConfig& windows) {
  return std::span(windows.size).first(static_cast<std::size_t>(windows.axes));
}

ConstView numbers_of(const std::unique_ptr<Parameter>& parameter) {
  return parameter ? parameter->numbers() : ConstView();
}

}  // namespace

void detail::Convolution::check() const {
  const detail::ConvolutionSettings& s = settings_;
  nn::require_windows(name(), "kernel_size", s.windows);
  if (s.kind != detail::ConvolutionKind::depthwise)
    core::require_positive(name(), "filters", s.filters);
  core::require_positive(name(), "groups", s.groups);
  nn::require_size(name(), "depth_multiplier", s.depth_multiplier, 1);
  if (s.filters % s.groups != 0) {
    core::throw_config_error(name(), "groups", "a divisor of filters " + std::to_string(s.filters),
                             std::to_string(s.groups));
  }
  const bool skips = std::max(s.windows.strides[0], s.windows.strides[1]) > 1;
  const bool spreads = std::max(s.windows.dilation[0], s.windows.dilation[1]) > 1;
  if (skips && spreads && s.kind == detail::ConvolutionKind::full) {
    core::throw_config_error(name(), "dilation_rate", "1 where strides are above 1",
                             nn::sizes_config(s.windows.dilation, s.windows.axes).to_string());
  }
  if (s.windows.padding == Padding::causal && s.kind != detail::ConvolutionKind::full) {
    core::throw_config_error(name(), "padding", "valid or same", "causal");
  }
}

Index detail::Convolution::channels_of(const Shape& input) const {
  return input[nn::channel_axis(settings_.windows.data_format, settings_.windows.axes)];
}

Index detail::Convolution::kernel_filters() const noexcept {
  return settings_.kind == detail::ConvolutionKind::full ? settings_.filters
                                                         : channels_ * settings_.depth_multiplier;
}

std::vector<Shape> detail::Convolution::output_shapes(std::span<const Shape> inputs,
                                                      const CallArguments* /*arguments*/) const {
  nn::require_count(name(), "number of inputs", inputs.size(), 1, 1);
  const detail::ConvolutionSettings& s = settings_;
  const Shape shape = nn::windowed_shape(name(), s.windows, inputs[0], s.filters);
  const Index channels = channels_of(inputs[0]);
  if (channels_ > 0 && channels != channels_ && channels >= 0) {
    core::throw_shape_error(name(), "input", std::to_string(channels_) + " channels",
                            inputs[0].to_string());
  }
  if (s.kind != detail::ConvolutionKind::depthwise) return {shape};
  return {nn::windowed_shape(name(), s.windows, inputs[0],
                             channels < 0 ? -1 : channels * s.depth_multiplier)};
}

std::unique_ptr<Parameter> detail::Convolution::make_weight(std::string weight, const Shape& shape,
                                                            const detail::WeightRules& rules,
                                                            RandomStream& random) const {
  auto made = std::make_unique<Parameter>(
      std::move(weight), shape, policy(),
      ParameterOptions{trainable(), rules.regularizer, rules.constraint});
  if (rules.initializer) nn::initialize(*made, rules.initializer, fans_of(shape), random);
  return made;
}

void detail::Convolution::create_parameters(std::span<const Shape> inputs, RandomStream& random) {
  const detail::ConvolutionSettings& s = settings_;
  nn::require_unbuilt(name(), kernel_ != nullptr);
  output_shapes(inputs, nullptr);  // checks
  const Index channels = channels_of(inputs[0]);
  if (channels < 1 || channels % s.groups != 0) {
    core::throw_shape_error(name(), "input",
                            s.groups == 1
                                ? "a known number of channels"
                                : "channels that " + std::to_string(s.groups) + " groups divide",
                            inputs[0].to_string());
  }
  channels_ = channels;
  std::vector<Index> dims(kernel_sizes(s.windows).begin(), kernel_sizes(s.windows).end());
  const bool is_full = s.kind == detail::ConvolutionKind::full;
  dims.push_back(is_full ? channels / s.groups : channels);
  dims.push_back(is_full ? s.filters : s.depth_multiplier);
  const char* const kernel =
      s.kind == detail::ConvolutionKind::separable ? "depthwise_kernel" : "kernel";
  kernel_ = make_weight(kernel, Shape(dims), s.kernel, random);
  if (s.kind == detail::ConvolutionKind::separable) {
    std::vector<Index> ones(static_cast<std::size_t>(s.windows.axes), 1);
    ones.push_back(kernel_filters());
    ones.push_back(s.filters);
    pointwise_ = make_weight("pointwise_kernel", Shape(ones), s.pointwise, random);
  }
  if (!s.use_bias) return;
  bias_ = make_weight("bias", {pointwise_ ? s.filters : kernel_filters()}, s.bias, random);
}

void detail::Convolution::round(View x) const {
  if (policy().compute() != dtype()) ops::convert_rounded(x, policy().compute(), x);
}

namespace {

ops::ConvolutionProblem problem_of(const detail::ConvolutionSettings& settings, const Tensor& x,
                                   Index filters) {
  return {.windows = nn::windows_over(settings.windows, x.shape()),
          .channels = x.dim(3),
          .filters = filters,
          .groups = settings.kind == detail::ConvolutionKind::full ? settings.groups : x.dim(3)};
}

Shape shape_of(const ops::ConvolutionProblem& problem, Index filters) {
  const ops::Windows& windows = problem.windows;
  return {windows.batch, windows.rows.out, windows.columns.out, filters};
}

}  // namespace

Tensor detail::Convolution::typed_call(Context& ctx, const LayerInput& input,
                                       std::unique_ptr<Saved>* saved) const {
  nn::require_built(name(), kernel_ != nullptr);
  const detail::ConvolutionSettings& s = settings_;
  const Shape shape = output_shapes(std::span(&input.shape(), 1), nullptr)[0];
  core::require_dtype(name(), "input", input.view(), dtype());
  const Tensor in = nn::with_channels_last(ctx, s.windows.data_format, input.tensor(ctx));
  const ops::ConvolutionProblem problem = problem_of(s, in, kernel_filters());
  Tensor z = ctx.tensor(shape_of(problem, problem.filters), dtype());
  ops::convolution_forward(ctx, problem, in, kernel_->numbers(), kernel_->packed(),
                           pointwise_ ? ConstView() : numbers_of(bias_), z);
  round(z);
  Tensor channelwise;
  if (pointwise_) {
    channelwise = std::move(z);
    z = ctx.tensor(shape_of(problem, s.filters), dtype());
    ops::linear_forward(ctx, channelwise, pointwise_->numbers(), pointwise_->packed(),
                        numbers_of(bias_), ops::Epilogue::none, z);
    round(z);
  }
  z = nn::with_format(ctx, s.windows.data_format, shape, z);
  const bool is_linear = s.activation == Activation::linear;
  Tensor y = is_linear || saved == nullptr ? z : ctx.tensor(shape, dtype());
  if (!is_linear) ops::activation_forward(ctx, s.activation, z, y);
  if (saved == nullptr) return y;
  auto keep = std::make_unique<ConvolutionSaved>();
  keep->x = in;
  keep->channelwise = std::move(channelwise);
  if (!is_linear) keep->pre_activation = std::move(z);
  *saved = std::move(keep);
  return y;
}

std::vector<Value> detail::Convolution::forward(Context& ctx, std::span<const Value> in,
                                                const Mode& /*mode*/,
                                                std::unique_ptr<Saved>* saved) const {
  nn::require_count(name(), "number of inputs", in.size(), 1, 1);
  return {Value{typed_call(ctx, in[0].tensor, saved), {}}};
}

void detail::Convolution::backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out,
                                   std::span<View> d_in, Grads& grads) const {
  auto& kept = nn::saved_as<ConvolutionSaved>(name(), saved);
  nn::require_count(name(), "number of output gradients", d_out.size(), 1, 1);
  nn::require_count(name(), "number of input gradients", d_in.size(), 1, 1);
  if (!d_out[0].has_value()) return;
  ops::require_whole_weights(kernel_->packed());
  const DataFormat format = settings_.windows.data_format;
  Tensor d_z;
  ConstView d_pre = d_out[0];
  if (kept.pre_activation.has_value()) {
    d_z = ctx.tensor(kept.pre_activation.shape(), dtype());
    ops::activation_backward(ctx, settings_.activation, kept.pre_activation, d_pre, d_z);
    d_pre = std::as_const(d_z).view();
  }
  Tensor moved;
  if (format == DataFormat::channels_first) {
    moved = nn::with_channels_last(ctx, format, d_pre);
    d_pre = std::as_const(moved).view();
  }
  const ops::ConvolutionProblem problem = problem_of(settings_, kept.x, kernel_filters());
  View d_bias = bias_ ? grads.of(*bias_) : View();
  Tensor d_channelwise;
  if (pointwise_) {
    const ConstView d_mixed = d_pre.reshaped(shape_of(problem, settings_.filters));
    ops::linear_backward_weights(ctx, kept.channelwise, d_mixed, grads.of(*pointwise_), d_bias);
    d_bias = View();
    d_channelwise = ctx.tensor(kept.channelwise.shape(), dtype());
    ops::linear_backward_input(ctx, d_mixed, pointwise_->numbers(), pointwise_->packed(),
                               ops::Write::overwrite, d_channelwise);
    d_pre = std::as_const(d_channelwise).view();
  }
  d_pre = d_pre.reshaped(shape_of(problem, problem.filters));
  ops::convolution_backward_weights(ctx, problem, kept.x, d_pre, grads.of(*kernel_), d_bias);
  if (!d_in[0].has_value()) return;
  nn::add_with_format(ctx, format, d_in[0], [&](View d_x) {
    ops::convolution_backward_input(ctx, problem, d_pre, kernel_->numbers(), kernel_->packed(),
                                    d_x);
  });
}

void detail::Convolution::append_parameters(const std::string& prefix, ParameterList& out) {
  for (const auto* parameter : {&kernel_, &pointwise_, &bias_}) {
    if (*parameter) out.push_back({prefix + (*parameter)->name(), parameter->get()});
  }
}

}  // namespace grouphead
