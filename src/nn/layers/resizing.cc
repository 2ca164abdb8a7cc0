#include "grouphead/layers/resizing.h"

#include "nn/base_config.h"
#include "nn/layer_checks.h"
#include "nn/layers/windows.h"
#include "nn/registry.h"
#include "ops/convert.h"
#include "ops/reduction.h"
#include "ops/strided.h"

namespace grouphead {
namespace {

struct ResizingSaved final : Saved {
  Shape input;
};

std::size_t index(int axis) { return static_cast<std::size_t>(axis); }

detail::AxisSides<2> both_sides(const std::array<Index, 2>& sides) { return {sides, {0, 0}}; }

}  // namespace

void detail::Resizing::check() const {
  const bool repeats = settings_.kind == detail::ResizingKind::repeat;
  const char* const key = repeats                                       ? "size"
                          : settings_.kind == detail::ResizingKind::pad ? "padding"
                                                                        : "cropping";
  for (int axis = 0; axis < settings_.axes; ++axis) {
    const auto& sides = settings_.sides[index(axis)];
    nn::require_size(name(), key, sides[0], repeats ? 1 : 0);
    if (!repeats) nn::require_size(name(), key, sides[1], 0);
  }
}

ConfigValue detail::Resizing::sides_config() const {
  if (settings_.axes == 1) return nn::sizes_config(settings_.sides[0], 2);
  return ConfigValue::List{nn::sizes_config(settings_.sides[0], 2),
                           nn::sizes_config(settings_.sides[1], 2)};
}

Index detail::Resizing::resized(Index size, int axis, const Shape& input) const {
  if (size < 0) return -1;
  const auto& [front, behind] = settings_.sides[index(axis)];
  if (settings_.kind == detail::ResizingKind::repeat) return size * front;
  if (settings_.kind == detail::ResizingKind::pad) return size + front + behind;
  if (size > front + behind) return size - front - behind;
  core::throw_shape_error(name(), "input",
                          "more than " + std::to_string(front + behind) + " on axis " +
                              std::to_string(first_axis() + axis),
                          input.to_string());
}

std::vector<Shape> detail::Resizing::output_shapes(std::span<const Shape> inputs,
                                                   const CallArguments* /*arguments*/) const {
  nn::require_count(name(), "number of inputs", inputs.size(), 1, 1);
  const Shape& input = inputs[0];
  if (input.rank() != settings_.axes + 2) {
    core::throw_shape_error(name(), "input", "rank " + std::to_string(settings_.axes + 2),
                            input.to_string());
  }
  std::array<Index, 2> sizes{};
  for (int axis = 0; axis < settings_.axes; ++axis) {
    sizes[index(axis)] = resized(nn::spatial_size(name(), input, first_axis() + axis), axis, input);
  }
  return {nn::in_format(settings_.data_format, input[0],
                        std::span<const Index>(sizes).first(index(settings_.axes)),
                        input[nn::channel_axis(settings_.data_format, settings_.axes)])};
}

Dtype detail::Resizing::output_dtype(std::span<const Dtype> inputs,
                                     const CallArguments* /*arguments*/) const {
  return ops::is_floating(inputs[0]) ? policy().compute() : inputs[0];
}

void detail::Resizing::create_parameters(std::span<const Shape> inputs, RandomStream& /*random*/) {
  output_shapes(inputs, nullptr);  // checks
}

void detail::Resizing::append_parameters(const std::string& /*prefix*/, ParameterList& /*out*/) {}

template <class AnyView>
AnyView detail::Resizing::inner(AnyView longer, const Shape& shape) const {
  for (int axis = 0; axis < settings_.axes; ++axis) {
    const int at = first_axis() + axis;
    const Index front = settings_.sides[index(axis)][0];
    longer = longer.slice(at, front, front + shape[at]);
  }
  return longer;
}

Shape detail::Resizing::with_repeats(const Shape& shape, bool are_ones) const {
  std::vector<Index> dims;
  for (int axis = 0; axis < shape.rank(); ++axis) {
    dims.push_back(shape[axis]);
    const int spatial = axis - first_axis();
    if (spatial < 0 || spatial >= settings_.axes) continue;
    dims.push_back(are_ones ? 1 : settings_.sides[index(spatial)][0]);
  }
  return Shape(dims);
}

std::vector<Value> detail::Resizing::forward(Context& ctx, std::span<const Value> in,
                                             const Mode& /*mode*/,
                                             std::unique_ptr<Saved>* saved) const {
  nn::require_count(name(), "number of inputs", in.size(), 1, 1);
  const Tensor& x = in[0].tensor;
  const Shape shape = output_shapes(std::span(&x.shape(), 1), nullptr)[0];
  Tensor y = settings_.kind == detail::ResizingKind::pad ? ctx.zeros(shape, x.dtype())
                                                         : ctx.tensor(shape, x.dtype());
  switch (settings_.kind) {
    case detail::ResizingKind::pad:
      ops::copy_elements(ctx, x, inner(y.view(), x.shape()));
      break;
    case detail::ResizingKind::crop:
      ops::copy_elements(ctx, inner(x.view(), shape), y);
      break;
    case detail::ResizingKind::repeat: {
      const Shape repeated = with_repeats(x.shape(), false);
      const ConstView each = x.view().reshaped(with_repeats(x.shape(), true));
      ops::copy_elements(ctx, ops::broadcast_to(name(), each, repeated),
                         y.view().reshaped(repeated));
      break;
    }
  }
  if (saved != nullptr) {
    auto keep = std::make_unique<ResizingSaved>();
    keep->input = x.shape();
    *saved = std::move(keep);
  }
  // Keras's slice of everything is its input, mask included.
  const bool is_input = settings_.kind == detail::ResizingKind::crop && shape == x.shape();
  return {Value{std::move(y), is_input ? in[0].mask : std::nullopt}};
}

void detail::Resizing::backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out,
                                std::span<View> d_in, Grads& /*grads*/) const {
  auto& kept = nn::saved_as<ResizingSaved>(name(), saved);
  nn::require_count(name(), "number of output gradients", d_out.size(), 1, 1);
  nn::require_count(name(), "number of input gradients", d_in.size(), 1, 1);
  if (!d_out[0].has_value() || !d_in[0].has_value()) return;
  switch (settings_.kind) {
    case detail::ResizingKind::pad:
      return ops::add_elements(ctx, inner(d_out[0], kept.input), d_in[0]);
    case detail::ResizingKind::crop:
      return ops::add_elements(ctx, d_out[0], inner(d_in[0], d_out[0].shape()));
    case detail::ResizingKind::repeat:
      break;
  }
  ops::sum_to(ctx, d_out[0].reshaped(with_repeats(kept.input, false)), 1, ops::Write::add,
              d_in[0].reshaped(with_repeats(kept.input, true)));
}

ZeroPadding1D::ZeroPadding1D(const ZeroPadding1DConfig& config)
    : Resizing(config,
               {detail::ResizingKind::pad, 1, both_sides(config.padding), config.data_format}) {}
ZeroPadding2D::ZeroPadding2D(const ZeroPadding2DConfig& config)
    : Resizing(config, {detail::ResizingKind::pad, 2, config.padding, config.data_format}) {}
Cropping1D::Cropping1D(const Cropping1DConfig& config)
    : Resizing(config, {.kind = detail::ResizingKind::crop, .sides = both_sides(config.cropping)}) {
}
Cropping2D::Cropping2D(const Cropping2DConfig& config)
    : Resizing(config, {detail::ResizingKind::crop, 2, config.cropping, config.data_format}) {}
UpSampling1D::UpSampling1D(const UpSampling1DConfig& config)
    : Resizing(config, {.kind = detail::ResizingKind::repeat,
                        .sides = both_sides(std::array<Index, 2>{config.size, 0})}) {}
UpSampling2D::UpSampling2D(const UpSampling2DConfig& config)
    : Resizing(config, {.kind = detail::ResizingKind::repeat,
                        .axes = 2,
                        .sides = {std::array<Index, 2>{config.size[0], 0}, {config.size[1], 0}},
                        .data_format = config.data_format}) {}

ConfigValue ZeroPadding1D::get_config() const {
  ConfigValue config = Layer::get_config();
  config.set("padding", sides_config());
  config.set("data_format", name_of(settings().data_format));
  return config;
}

ConfigValue ZeroPadding2D::get_config() const {
  ConfigValue config = Layer::get_config();
  config.set("padding", sides_config());
  config.set("data_format", name_of(settings().data_format));
  return config;
}

ConfigValue Cropping1D::get_config() const {
  ConfigValue config = Layer::get_config();
  config.set("cropping", sides_config());
  return config;
}

ConfigValue Cropping2D::get_config() const {
  ConfigValue config = Layer::get_config();
  config.set("cropping", sides_config());
  config.set("data_format", name_of(settings().data_format));
  return config;
}

ConfigValue UpSampling1D::get_config() const {
  ConfigValue config = Layer::get_config();
  config.set("size", settings().sides[0][0]);
  return config;
}

ConfigValue UpSampling2D::get_config() const {
  ConfigValue config = Layer::get_config();
  config.set("size", nn::sizes_config({settings().sides[0][0], settings().sides[1][0]}, 2));
  config.set("data_format", name_of(settings().data_format));
  config.set("interpolation", "nearest");
  return config;
}

namespace nn {
namespace {

std::array<Index, 2> sides_from(std::string_view key, const ConfigValue& value) {
  if (value.is_integer()) return {value.as_integer(key), value.as_integer(key)};
  const ConfigValue::List& list = value.as_list(key);
  if (list.size() != 2) {
    core::throw_config_error("config", key, "an integer, or two of them", value.to_string());
  }
  return {list[0].as_integer(key), list[1].as_integer(key)};
}

std::array<std::array<Index, 2>, 2> side_pairs_from(std::string_view key,
                                                    const ConfigValue& value) {
  if (value.is_integer()) return {sides_from(key, value), sides_from(key, value)};
  const ConfigValue::List& list = value.as_list(key);
  if (list.size() != 2) {
    core::throw_config_error("config", key, "an integer, or two entries", value.to_string());
  }
  return {sides_from(key, list[0]), sides_from(key, list[1])};
}

void read_format(ConfigReader& reader, DataFormat& format) {
  format = data_format_from_name(reader.string("data_format", "channels_last"));
}

}  // namespace

std::shared_ptr<Layer> make_zero_padding_1d(const ConfigValue& given) {
  ConfigReader reader("ZeroPadding1D", given);
  ZeroPadding1DConfig config;
  read_base(reader, config);
  if (reader.has("padding")) config.padding = sides_from("padding", reader.value("padding"));
  read_format(reader, config.data_format);
  reader.finish();
  return with_trainable(std::make_shared<ZeroPadding1D>(config), given);
}

std::shared_ptr<Layer> make_zero_padding_2d(const ConfigValue& given) {
  ConfigReader reader("ZeroPadding2D", given);
  ZeroPadding2DConfig config;
  read_base(reader, config);
  if (reader.has("padding")) config.padding = side_pairs_from("padding", reader.value("padding"));
  read_format(reader, config.data_format);
  reader.finish();
  return with_trainable(std::make_shared<ZeroPadding2D>(config), given);
}

std::shared_ptr<Layer> make_cropping_1d(const ConfigValue& given) {
  ConfigReader reader("Cropping1D", given);
  Cropping1DConfig config;
  read_base(reader, config);
  if (reader.has("cropping")) config.cropping = sides_from("cropping", reader.value("cropping"));
  reader.finish();
  return with_trainable(std::make_shared<Cropping1D>(config), given);
}

std::shared_ptr<Layer> make_cropping_2d(const ConfigValue& given) {
  ConfigReader reader("Cropping2D", given);
  Cropping2DConfig config;
  read_base(reader, config);
  if (reader.has("cropping")) {
    config.cropping = side_pairs_from("cropping", reader.value("cropping"));
  }
  read_format(reader, config.data_format);
  reader.finish();
  return with_trainable(std::make_shared<Cropping2D>(config), given);
}

std::shared_ptr<Layer> make_up_sampling_1d(const ConfigValue& given) {
  ConfigReader reader("UpSampling1D", given);
  UpSampling1DConfig config;
  read_base(reader, config);
  config.size = reader.integer("size", config.size);
  reader.finish();
  return with_trainable(std::make_shared<UpSampling1D>(config), given);
}

std::shared_ptr<Layer> make_up_sampling_2d(const ConfigValue& given) {
  ConfigReader reader("UpSampling2D", given);
  UpSampling2DConfig config;
  read_base(reader, config);
  config.size = read_sizes<2>(reader, "size", config.size);
  read_format(reader, config.data_format);
  const std::string interpolation = reader.string("interpolation", "nearest");
  if (interpolation != "nearest") {
    core::throw_config_error(config.name, "interpolation", "nearest", interpolation);
  }
  reader.finish();
  return with_trainable(std::make_shared<UpSampling2D>(config), given);
}

}  // namespace nn
}  // namespace grouphead
