#include "grouphead/layers/merging.h"

#include "nn/base_config.h"
#include "nn/layer_checks.h"
#include "nn/operations/promotion.h"
#include "nn/registry.h"
#include "nn/shapes.h"
#include "ops/arithmetic.h"
#include "ops/broadcasting.h"
#include "ops/convert.h"
#include "ops/reduction.h"
#include "ops/strided.h"

namespace grouphead {
namespace {

struct MergeSaved final : Saved {
  std::vector<Tensor> inputs;  // empty where the gradient needs none
};

struct MultiplySaved final : Saved {
  std::unique_ptr<Saved> merged;
  std::vector<Tensor> steps;  // of each input, bool [..., 1]; absent where all count
  Tensor result;              // the same of the result
};

struct ConcatenateSaved final : Saved {
  int axis = 0;
  std::vector<Index> sizes;  // of the inputs along the axis
};

// [B, rest] as [B, 1, ..., 1, rest] of this rank. Works on views of any strides.
template <class V>
V expanded(const V& x, int rank) {
  std::array<Index, kMaxRank> dims{};
  Strides strides{};
  const int added = rank - x.rank();
  for (int axis = 0; axis < rank; ++axis) {
    const auto i = static_cast<std::size_t>(axis);
    const bool is_new = axis > 0 && axis <= added;
    const int source = axis == 0 ? 0 : axis - added;
    dims[i] = is_new ? 1 : x.dim(source);
    strides[i] = is_new ? 0 : x.stride(source);
  }
  const Shape shape(std::span<const Index>(dims.data(), static_cast<std::size_t>(rank)));
  return {x.raw(), x.dtype(), shape, strides};
}

Shape tail_of(const Shape& shape) { return nn::part_of(shape, 1, shape.rank()); }

std::vector<Value> values_of(std::initializer_list<Tensor> tensors) {
  std::vector<Value> values;
  for (const Tensor& tensor : tensors) values.push_back({tensor, {}});
  return values;
}

std::vector<Shape> shapes_of(std::span<const Value> values) {
  std::vector<Shape> shapes;
  for (const Value& value : values) shapes.push_back(value.tensor.shape());
  return shapes;
}

Dtype result_type_of(std::span<const Value> values) {
  std::vector<nn::OperandType> types;
  for (const Value& value : values) types.push_back({value.tensor.dtype(), false});
  return nn::result_type(types);
}

void require_inputs(std::string_view layer, std::span<const Shape> inputs) {
  if (inputs.empty()) detail::throw_shape_error(layer, "inputs", "1 or more", "none");
  for (const Shape& shape : inputs) {
    if (shape.rank() < 1) {
      detail::throw_shape_error(layer, "inputs", "rank 1 or more", shape.to_string());
    }
  }
}

// True where one of the masks is; none where a mask is missing.
std::optional<Tensor> either_mask(Context& ctx, std::string_view layer,
                                  std::span<const Value> values) {
  std::optional<Tensor> sum = values[0].mask;
  for (const Value& value : values.subspan(1)) {
    if (!sum || !value.mask) return {};
    Tensor next =
        ctx.tensor(ops::broadcast_shape(layer, sum->shape(), value.mask->shape()), Dtype::boolean);
    ops::combine(ctx, ops::Logical::either, *sum, *value.mask, next);
    sum = next;
  }
  return sum;
}

// A value's mask as [..., 1], where its tensor has this rank.
Tensor step_mask(const Value& value, int rank) {
  if (!value.mask || value.tensor.rank() != rank) return {};
  return value.mask->reshaped(nn::with_appended_axis(value.mask->shape(), 1));
}

// x where the mask is true, else `other`.
Tensor where(Context& ctx, std::string_view layer, const Tensor& mask, const Tensor& x,
             double other) {
  const Tensor number = Tensor::from(Shape(), std::span<const double>(&other, 1));
  const Tensor numbers = nn::numbers_as(ctx, x, x.dtype());
  const ConstView steps = ops::broadcast_to(layer, mask, x.shape());
  Tensor chosen = ctx.tensor(x.shape(), numbers.dtype());
  const Tensor elsewhere = nn::as_type(ctx, number, numbers.dtype());
  ops::select(ctx, steps, numbers, elsewhere, chosen);
  return nn::as_type(ctx, chosen, x.dtype());
}

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

std::vector<Shape> Merging::output_shapes(std::span<const Shape> inputs,
                                          const CallArguments* /*arguments*/) const {
  require_inputs(name(), inputs);
  Index batch = -1;
  Shape tail = tail_of(inputs[0]);
  for (const Shape& shape : inputs) {
    if (batch >= 0 && shape[0] >= 0 && shape[0] != batch) {
      detail::throw_shape_error(name(), "inputs", "one batch size",
                                std::to_string(batch) + " and " + std::to_string(shape[0]));
    }
    batch = std::max(batch, shape[0]);
    tail = ops::broadcast_shape(name(), tail, tail_of(shape));
  }
  return {nn::with_leading_axis(batch, tail)};
}

void Merging::create_parameters(std::span<const Shape> inputs, RandomStream& /*random*/) {
  output_shapes(inputs, nullptr);  // checks
}

std::vector<Value> Merging::forward(Context& ctx, std::span<const Value> in, const Mode& /*mode*/,
                                    std::unique_ptr<Saved>* saved) const {
  const Shape shape = output_shapes(shapes_of(in), nullptr)[0];
  const Dtype type = result_type_of(in);
  const Dtype arithmetic = nn::arithmetic_type(type);
  const bool is_rounded = ops::is_floating(type) && policy().compute() != dtype();
  auto keep = std::make_unique<MergeSaved>();
  Tensor sum;
  Shape merged;  // of the inputs up to here, without the batch
  for (const Value& value : in) {
    const Tensor x = nn::numbers_as(ctx, value.tensor, type);
    if (saved != nullptr && keeps_inputs()) keep->inputs.push_back(x);
    if (!sum.has_value()) {
      sum = x;
      merged = tail_of(x.shape());
      continue;
    }
    if (is_rounded && &value != &in[1]) ops::convert_rounded(sum, policy().compute(), sum);
    merged = ops::broadcast_shape(name(), merged, tail_of(x.shape()));
    Tensor next = ctx.tensor(nn::with_leading_axis(shape[0], merged), arithmetic);
    merge(ctx, expanded(sum.view(), next.rank()), expanded(x.view(), next.rank()), next);
    sum = next;
  }
  if (saved != nullptr) *saved = std::move(keep);
  return {Value{nn::as_type(ctx, sum, type), either_mask(ctx, name(), in)}};
}

Tensor Merging::operator()(Context& ctx, std::initializer_list<Tensor> in) const {
  return call(ctx, values_of(in), {}, nullptr).front().tensor;
}

void Merging::append_parameters(const std::string& /*prefix*/, ParameterList& /*out*/) {}

Add::Add(const AddConfig& config)
    : Merging(config.name, config.dtype, config.activity_regularizer) {}

void Add::merge(Context& ctx, ConstView a, ConstView b, View y) const {
  const bool is_plain = ops::is_floating(y.dtype()) && a.shape() == b.shape() &&
                        a.is_contiguous() && b.is_contiguous();
  if (is_plain) return ops::add(ctx, a, b, y);
  ops::binary_forward(ctx, ops::Binary::add, a, b, y);
}

void Add::backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out,
                   std::span<View> d_in, Grads& /*grads*/) const {
  nn::saved_as<MergeSaved>(name(), saved);
  nn::require_count(name(), "number of output gradients", d_out.size(), 1, 1);
  if (!d_out[0].has_value()) return;
  for (View& d_x : d_in) {
    if (!d_x.has_value()) continue;
    ops::sum_to(ctx, d_out[0], 1, ops::Write::add, expanded(d_x, d_out[0].rank()));
  }
}

Multiply::Multiply(const MultiplyConfig& config)
    : Merging(config.name, config.dtype, config.activity_regularizer) {}

void Multiply::merge(Context& ctx, ConstView a, ConstView b, View y) const {
  ops::binary_forward(ctx, ops::Binary::multiply, a, b, y);
}

std::vector<Value> Multiply::forward(Context& ctx, std::span<const Value> in, const Mode& mode,
                                     std::unique_ptr<Saved>* saved) const {
  const int rank = output_shapes(shapes_of(in), nullptr)[0].rank();
  auto keep = std::make_unique<MultiplySaved>();
  std::vector<Value> factors(in.begin(), in.end());
  bool all_masked = true;
  for (Value& factor : factors) {
    keep->steps.push_back(step_mask(factor, rank));
    const Tensor& steps = keep->steps.back();
    if (steps.has_value()) {
      factor.tensor = where(ctx, name(), steps, factor.tensor, 1);
    } else {
      all_masked = false;
    }
  }
  std::vector<Value> out =
      Merging::forward(ctx, factors, mode, saved != nullptr ? &keep->merged : nullptr);
  if (all_masked) {
    keep->result = out[0].mask->reshaped(nn::with_appended_axis(out[0].mask->shape(), 1));
    out[0].tensor = where(ctx, name(), keep->result, out[0].tensor, 0);
  }
  if (saved != nullptr) *saved = std::move(keep);
  return out;
}

void Multiply::backward(Context& ctx, Saved& saved, std::span<const ConstView> d_out,
                        std::span<View> d_in, Grads& /*grads*/) const {
  auto& kept = nn::saved_as<MultiplySaved>(name(), saved);
  const auto& inputs = nn::saved_as<MergeSaved>(name(), *kept.merged).inputs;
  nn::require_count(name(), "number of output gradients", d_out.size(), 1, 1);
  nn::require_count(name(), "number of input gradients", d_in.size(), inputs.size(), inputs.size());
  if (!d_out[0].has_value()) return;
  const int rank = d_out[0].rank();
  Tensor d_y = nn::copied(ctx, d_out[0]);
  if (kept.result.has_value()) d_y = where(ctx, name(), kept.result, d_y, 0);
  for (std::size_t i = 0; i < d_in.size(); ++i) {
    if (!d_in[i].has_value()) continue;
    Tensor product = nn::copied(ctx, d_y);  // times all other inputs
    for (std::size_t j = 0; j < inputs.size(); ++j) {
      if (j == i) continue;
      ops::binary_forward(ctx, ops::Binary::multiply, product, expanded(inputs[j].view(), rank),
                          product);
    }
    if (kept.steps[i].has_value()) product = where(ctx, name(), kept.steps[i], product, 0);
    ops::sum_to(ctx, product, 1, ops::Write::add, expanded(d_in[i], rank));
  }
}

Concatenate::Concatenate(const ConcatenateConfig& config)
    : Layer(config.name, config.dtype, config.activity_regularizer), config_(config) {}

ConfigValue Concatenate::get_config() const {
  ConfigValue config = Layer::get_config();
  config.set("axis", config_.axis);
  return config;
}

std::vector<Shape> Concatenate::output_shapes(std::span<const Shape> inputs,
                                              const CallArguments* /*arguments*/) const {
  require_inputs(name(), inputs);
  const int axis = nn::positive_axis(name(), config_.axis, inputs[0].rank());
  return {nn::joined_shape(name(), inputs, axis)};
}

void Concatenate::create_parameters(std::span<const Shape> inputs, RandomStream& /*random*/) {
  output_shapes(inputs, nullptr);  // checks
}

std::vector<Value> Concatenate::forward(Context& ctx, std::span<const Value> in,
                                        const Mode& /*mode*/, std::unique_ptr<Saved>* saved) const {
  const Shape shape = output_shapes(shapes_of(in), nullptr)[0];
  const int axis = nn::positive_axis(name(), config_.axis, shape.rank());
  const Dtype type = result_type_of(in);
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
  return call(ctx, values_of(in), {}, nullptr).front().tensor;
}

void Concatenate::append_parameters(const std::string& /*prefix*/, ParameterList& /*out*/) {}

namespace nn {
namespace {

template <class L, class Config>
std::shared_ptr<Layer> make_merging(std::string_view class_name, const ConfigValue& given) {
  ConfigReader reader(class_name, given);
  Config config;
  read_base(reader, config);
  reader.finish();
  return with_trainable(std::make_shared<L>(config), given);
}

}  // namespace

std::shared_ptr<Layer> make_add(const ConfigValue& config) {
  return make_merging<Add, AddConfig>("Add", config);
}

std::shared_ptr<Layer> make_multiply(const ConfigValue& config) {
  return make_merging<Multiply, MultiplyConfig>("Multiply", config);
}

std::shared_ptr<Layer> make_concatenate(const ConfigValue& given) {
  ConfigReader reader("Concatenate", given);
  ConcatenateConfig config;
  read_base(reader, config);
  config.axis = reader.integer("axis", config.axis);
  reader.finish();
  return with_trainable(std::make_shared<Concatenate>(config), given);
}

}  // namespace nn
}  // namespace grouphead
