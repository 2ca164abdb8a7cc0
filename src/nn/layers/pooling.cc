// Poolings of sliding windows.

#include "grouphead/layers/pooling.h"

#include "nn/base_config.h"
#include "nn/layer_checks.h"
#include "nn/layers/windows.h"
#include "nn/registry.h"
#include "ops/window_pooling.h"

namespace grouphead {
namespace {

struct PoolingSaved final : Saved {
  ops::Windows windows;
  Shape output;
  Tensor x;  // [B, H, W, M]; absent where the mean is taken
};

}  // namespace

void detail::Pooling::check() const {
  nn::require_windows(name(), "pool_size", windows_);
  if (windows_.padding == Padding::causal) {
    core::throw_config_error(name(), "padding", "valid or same", "causal");
  }
}

ConfigValue detail::Pooling::get_config() const {
  ConfigValue config = Layer::get_config();
  config.set("pool_size", nn::sizes_config(windows_.size, windows_.axes));
  config.set("padding", name_of(windows_.padding));
  config.set("strides", nn::sizes_config(windows_.strides, windows_.axes));
  config.set("data_format", name_of(windows_.data_format));
  return config;
}

std::vector<Shape> detail::Pooling::output_shapes(std::span<const Shape> inputs,
                                                  const CallArguments* /*arguments*/) const {
  nn::require_count(name(), "number of inputs", inputs.size(), 1, 1);
  return {nn::windowed_shape(name(), windows_, inputs[0], -1)};
}

void detail::Pooling::create_parameters(std::span<const Shape> inputs, RandomStream& /*random*/) {
  output_shapes(inputs, nullptr);  // checks
}

std::vector<Value> detail::Pooling::forward(Context& ctx, std::span<const Value> in,
                                            const Mode& /*mode*/,
                                            std::unique_ptr<Saved>* saved) const {
  nn::require_count(name(), "number of inputs", in.size(), 1, 1);
  const Tensor& x = in[0].tensor;
  const Shape shape = output_shapes(std::span(&x.shape(), 1), nullptr)[0];
  core::require_dtype(name(), "input", x, dtype());
  const Tensor last = nn::with_channels_last(ctx, windows_.data_format, x);
  auto keep = std::make_unique<PoolingSaved>();
  keep->windows = nn::windows_over(windows_, last.shape());
  keep->output = {last.dim(0), keep->windows.rows.out, keep->windows.columns.out, last.dim(3)};
  Tensor y = ctx.tensor(keep->output, dtype());
  if (kind_ == PoolingKind::max) {
    ops::max_pool_forward(ctx, keep->windows, last, y);
    keep->x = last;
  } else {
    ops::average_pool_forward(ctx, keep->windows, last, y);
  }
  if (saved != nullptr) *saved = std::move(keep);
  return {Value{nn::with_format(ctx, windows_.data_format, shape, y), {}}};
}

void detail::Pooling::backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out,
                               std::span<View> d_in, Grads& /*grads*/) const {
  auto& kept = nn::saved_as<PoolingSaved>(name(), saved);
  nn::require_count(name(), "number of output gradients", d_out.size(), 1, 1);
  nn::require_count(name(), "number of input gradients", d_in.size(), 1, 1);
  if (!d_out[0].has_value() || !d_in[0].has_value()) return;
  Tensor moved;
  ConstView d_y = d_out[0];
  if (windows_.data_format == DataFormat::channels_first) {
    moved = nn::with_channels_last(ctx, windows_.data_format, d_y);
    d_y = std::as_const(moved).view();
  }
  d_y = d_y.reshaped(kept.output);
  nn::add_with_format(ctx, windows_.data_format, d_in[0], [&](View d_x) {
    if (kind_ == PoolingKind::max) {
      ops::max_pool_backward(ctx, kept.windows, kept.x, d_y, d_x);
    } else {
      ops::average_pool_backward(ctx, kept.windows, d_y, d_x);
    }
  });
}

void detail::Pooling::append_parameters(const std::string& /*prefix*/, ParameterList& /*out*/) {}

namespace nn {
namespace {

template <class L, int kAxes>
std::shared_ptr<Layer> make_pooling(std::string_view class_name, const ConfigValue& given) {
  ConfigReader reader(class_name, given);
  typename L::Config config;
  read_base(reader, config);
  config.pool_size = read_sizes<kAxes>(reader, "pool_size", config.pool_size);
  config.strides = read_sizes<kAxes>(reader, "strides", config.pool_size);
  config.padding = padding_from_name(reader.string("padding", "valid"));
  config.data_format = data_format_from_name(reader.string("data_format", "channels_last"));
  reader.finish();
  return with_trainable(std::make_shared<L>(config), given);
}

}  // namespace

std::shared_ptr<Layer> make_average_pooling_1d(const ConfigValue& config) {
  return make_pooling<AveragePooling1D, 1>("AveragePooling1D", config);
}
std::shared_ptr<Layer> make_average_pooling_2d(const ConfigValue& config) {
  return make_pooling<AveragePooling2D, 2>("AveragePooling2D", config);
}
std::shared_ptr<Layer> make_max_pooling_1d(const ConfigValue& config) {
  return make_pooling<MaxPooling1D, 1>("MaxPooling1D", config);
}
std::shared_ptr<Layer> make_max_pooling_2d(const ConfigValue& config) {
  return make_pooling<MaxPooling2D, 2>("MaxPooling2D", config);
}

}  // namespace nn
}  // namespace grouphead
