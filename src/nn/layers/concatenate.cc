#include "grouphead/layers/merging.h"
#include "nn/base_config.h"
#include "nn/layer_checks.h"
#include "nn/layers/merge_values.h"
#include "nn/registry.h"
#include "nn/shapes.h"
#include "ops/reduction.h"
#include "ops/strided.h"

namespace grouphead {
namespace {

struct ConcatenateSaved final : Saved {
  int axis = 0;
  std::vector<Index> sizes;  // of the inputs along the axis
};

// The elements' masks of each input joined as the inputs are, then those of a position or-ed.
std::optional<Tensor> joined_mask(Context& ctx, std::string_view layer, int axis,
                                  std::span<const Value> values, const Shape& shape) {
  const bool has_mask = std::any_of(values.begin(), values.end(),
                                    [](const Value& value) { return value.mask.has_value(); });
  if (!has_mask) return {};
  Tensor joined = ctx.tensor(shape, Dtype::boolean);
  Tensor yes = ctx.tensor(Shape(), Dtype::boolean);
  *yes.data<bool>() = true;
  Index begin = 0;
  for (const Value& value : values) {
    const Shape& own = value.tensor.shape();
    ConstView mask = value.mask ? std::as_const(*value.mask).view() : std::as_const(yes).view();
    if (value.mask && mask.rank() < own.rank()) {
      mask = mask.reshaped(nn::with_appended_axis(mask.shape(), 1));
    }
    const Index end = begin + own[axis];
    ops::copy_elements(ctx, ops::broadcast_to(layer, mask, own),
                       joined.view().slice(axis, begin, end));
    begin = end;
  }
  Tensor any = ctx.tensor(nn::without_last_axis(shape), Dtype::boolean);
  ops::extreme_to(ctx, ops::Extreme::max, joined,
                  any.view().reshaped(nn::with_last_axis(shape, 1)));
  return any;
}

}  // namespace

Concatenate::Concatenate(const ConcatenateConfig& config)
    : Layer(config.name, config.dtype, config.activity_regularizer), config_(config) {}

ConfigValue Concatenate::get_config() const {
  ConfigValue config = Layer::get_config();
  config.set("axis", config_.axis);
  return config;
}

std::vector<Shape> Concatenate::output_shapes(std::span<const Shape> inputs,
                                              const CallArguments* /*arguments*/) const {
  nn::require_inputs(name(), inputs);
  const int axis = nn::positive_axis(name(), config_.axis, inputs[0].rank());
  return {nn::joined_shape(name(), inputs, axis)};
}

void Concatenate::create_parameters(std::span<const Shape> inputs, RandomStream& /*random*/) {
  output_shapes(inputs, nullptr);  // checks
}

std::vector<Value> Concatenate::forward(Context& ctx, std::span<const Value> in,
                                        const Mode& /*mode*/, std::unique_ptr<Saved>* saved) const {
  const Shape shape = output_shapes(nn::shapes_of(in), nullptr)[0];
  const int axis = nn::positive_axis(name(), config_.axis, shape.rank());
  const Dtype type = nn::result_type_of(in);
  Tensor y = ctx.tensor(shape, type);
  auto keep = std::make_unique<ConcatenateSaved>();
  keep->axis = axis;
  Index begin = 0;
  for (const Value& value : in) {
    const Index size = value.tensor.dim(axis);
    ops::cast(ctx, value.tensor, y.view().slice(axis, begin, begin + size));
    keep->sizes.push_back(size);
    begin += size;
  }
  if (saved != nullptr) *saved = std::move(keep);
  return {Value{std::move(y), joined_mask(ctx, name(), axis, in, shape)}};
}

void Concatenate::backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out,
                           std::span<View> d_in, Grads& /*grads*/) const {
  auto& kept = nn::saved_as<ConcatenateSaved>(name(), saved);
  nn::require_count(name(), "number of output gradients", d_out.size(), 1, 1);
  nn::require_count(name(), "number of input gradients", d_in.size(), kept.sizes.size(),
                    kept.sizes.size());
  if (!d_out[0].has_value()) return;
  Index begin = 0;
  for (std::size_t i = 0; i < d_in.size(); ++i) {
    const Index end = begin + kept.sizes[i];
    if (d_in[i].has_value()) {
      ops::add_elements(ctx, d_out[0].slice(kept.axis, begin, end), d_in[i]);
    }
    begin = end;
  }
}

Tensor Concatenate::operator()(Context& ctx, std::initializer_list<Tensor> in) const {
  return call(ctx, nn::values_of(in), {}, nullptr).front().tensor;
}

void Concatenate::append_parameters(const std::string& /*prefix*/, ParameterList& /*out*/) {}

std::shared_ptr<Layer> nn::make_concatenate(const ConfigValue& given) {
  ConfigReader reader("Concatenate", given);
  ConcatenateConfig config;
  read_base(reader, config);
  config.axis = reader.integer("axis", config.axis);
  reader.finish();
  return with_trainable(std::make_shared<Concatenate>(config), given);
}

}  // namespace grouphead
