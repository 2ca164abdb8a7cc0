#include "grouphead/layers/reshaping.h"

#include <numeric>

#include "nn/base_config.h"
#include "nn/layer_checks.h"
#include "nn/registry.h"
#include "nn/shapes.h"
#include "ops/convert.h"
#include "ops/strided.h"

namespace grouphead {
namespace {

struct RearrangingSaved final : Saved {
  std::vector<int> order;
  Shape permuted;  // the input's shape in that order
};

std::vector<int> ascending(int rank) {
  std::vector<int> order(static_cast<std::size_t>(rank));
  std::iota(order.begin(), order.end(), 0);
  return order;
}

}  // namespace

std::vector<Shape> Rearranging::output_shapes(std::span<const Shape> inputs,
                                              const CallArguments* /*arguments*/) const {
  nn::require_count(name(), "number of inputs", inputs.size(), 1, 1);
  if (inputs[0].rank() < 1) {
    core::throw_shape_error(name(), "input", "rank 1 or more", inputs[0].to_string());
  }
  return {shape_for(inputs[0])};
}

Dtype Rearranging::output_dtype(std::span<const Dtype> inputs,
                                const CallArguments* /*arguments*/) const {
  return ops::is_floating(inputs[0]) ? policy().compute() : inputs[0];
}

void Rearranging::create_parameters(std::span<const Shape> inputs, RandomStream& /*random*/) {
  output_shapes(inputs, nullptr);  // checks
}

std::vector<Value> Rearranging::forward(Context& ctx, std::span<const Value> in,
                                        const Mode& /*mode*/, std::unique_ptr<Saved>* saved) const {
  nn::require_count(name(), "number of inputs", in.size(), 1, 1);
  const Tensor& x = in[0].tensor;
  const Shape shape = output_shapes(std::span(&x.shape(), 1), nullptr)[0];
  std::vector<int> order = order_for(x.rank());
  const bool keeps_order = order == ascending(x.rank());
  const ConstView view = ops::permuted(x.view(), order);
  if (saved != nullptr) {
    auto keep = std::make_unique<RearrangingSaved>();
    keep->order = std::move(order);
    keep->permuted = view.shape();
    *saved = std::move(keep);
  }
  if (keeps_order) {
    const bool keeps_all = shape == x.shape();
    return {Value{x.reshaped(shape), keeps_all ? in[0].mask : std::nullopt}};
  }
  Tensor y = ctx.tensor(shape, x.dtype());
  ops::copy_elements(ctx, view, y.view().reshaped(view.shape()));
  return {Value{std::move(y), {}}};
}

void Rearranging::backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out,
                           std::span<View> d_in, Grads& /*grads*/) const {
  auto& kept = nn::saved_as<RearrangingSaved>(name(), saved);
  nn::require_count(name(), "number of output gradients", d_out.size(), 1, 1);
  nn::require_count(name(), "number of input gradients", d_in.size(), 1, 1);
  if (!d_out[0].has_value() || !d_in[0].has_value()) return;
  ops::add_elements(ctx, d_out[0].reshaped(kept.permuted), ops::permuted(d_in[0], kept.order));
}

void Rearranging::append_parameters(const std::string& /*prefix*/, ParameterList& /*out*/) {}

std::vector<int> Rearranging::order_for(int rank) const { return ascending(rank); }

Reshape::Reshape(const ReshapeConfig& config)
    : Rearranging(config.name, config.dtype, config.activity_regularizer),
      target_shape_(config.target_shape) {
  if (std::count(target_shape_.begin(), target_shape_.end(), -1) > 1) {
    core::throw_config_error(name(), "target_shape", "at most one -1", target_shape_.to_string());
  }
}

ConfigValue Reshape::get_config() const {
  ConfigValue config = Layer::get_config();
  ConfigValue::List dims;
  for (const Index dim : target_shape_) dims.emplace_back(dim);
  config.set("target_shape", std::move(dims));
  return config;
}

Shape Reshape::shape_for(const Shape& input) const {
  const Shape from = nn::part_of(input, 1, input.rank());
  return nn::with_leading_axis(input[0], nn::reshaped_shape(name(), from, target_shape_));
}

Permute::Permute(const PermuteConfig& config)
    : Rearranging(config.name, config.dtype, config.activity_regularizer), dims_(config.dims) {
  std::vector<Index> sorted = dims_;
  std::sort(sorted.begin(), sorted.end());
  for (std::size_t i = 0; i < sorted.size(); ++i) {
    if (sorted[i] == static_cast<Index>(i) + 1) continue;
    core::throw_config_error(name(), "dims",
                             "each of 1 to " + std::to_string(dims_.size()) + " once",
                             Shape::partial(dims_).to_string());
  }
}

ConfigValue Permute::get_config() const {
  ConfigValue config = Layer::get_config();
  config.set("dims", ConfigValue::List(dims_.begin(), dims_.end()));
  return config;
}

std::vector<int> Permute::order_for(int rank) const {
  if (rank != static_cast<int>(dims_.size()) + 1) {
    core::throw_shape_error(name(), "input", "rank " + std::to_string(dims_.size() + 1),
                            "rank " + std::to_string(rank));
  }
  std::vector<int> order = {0};
  for (const Index dim : dims_) order.push_back(static_cast<int>(dim));
  return order;
}

Shape Permute::shape_for(const Shape& input) const {
  return ops::permuted(input, order_for(input.rank()));
}

std::string_view name_of(DataFormat format) noexcept {
  return format == DataFormat::channels_last ? "channels_last" : "channels_first";
}

DataFormat data_format_from_name(std::string_view name) {
  for (const DataFormat format : {DataFormat::channels_last, DataFormat::channels_first}) {
    if (name == name_of(format)) return format;
  }
  core::throw_config_error("data_format", "name", "channels_last or channels_first", name);
}

Flatten::Flatten(const FlattenConfig& config)
    : Rearranging(config.name, config.dtype, config.activity_regularizer),
      data_format_(config.data_format) {}

ConfigValue Flatten::get_config() const {
  ConfigValue config = Layer::get_config();
  config.set("data_format", name_of(data_format_));
  return config;
}

std::vector<int> Flatten::order_for(int rank) const {
  std::vector<int> order = ascending(rank);
  if (data_format_ == DataFormat::channels_first && rank > 1) {
    std::rotate(order.begin() + 1, order.begin() + 2, order.end());
  }
  return order;
}

Shape Flatten::shape_for(const Shape& input) const {
  const Shape rest = nn::part_of(input, 1, input.rank());
  return Shape::partial({input[0], rest.is_complete() ? rest.size() : -1});
}

namespace nn {

std::shared_ptr<Layer> make_reshape(const ConfigValue& given) {
  ConfigReader reader("Reshape", given);
  ReshapeConfig config;
  read_base(reader, config);
  config.target_shape = reader.value("target_shape").as_shape("target_shape");
  reader.finish();
  return with_trainable(std::make_shared<Reshape>(config), given);
}

std::shared_ptr<Layer> make_permute(const ConfigValue& given) {
  ConfigReader reader("Permute", given);
  PermuteConfig config;
  read_base(reader, config);
  const Shape dims = reader.value("dims").as_shape("dims");
  config.dims.assign(dims.begin(), dims.end());
  reader.finish();
  return with_trainable(std::make_shared<Permute>(config), given);
}

std::shared_ptr<Layer> make_flatten(const ConfigValue& given) {
  ConfigReader reader("Flatten", given);
  FlattenConfig config;
  read_base(reader, config);
  config.data_format = data_format_from_name(reader.string("data_format", "channels_last"));
  reader.finish();
  return with_trainable(std::make_shared<Flatten>(config), given);
}

}  // namespace nn
}  // namespace grouphead
