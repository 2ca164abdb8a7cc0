#include "nn/layers/merge_values.h"

#include "nn/operations/promotion.h"
#include "nn/shapes.h"
#include "ops/broadcasting.h"
#include "ops/strided.h"

namespace grouphead::nn {

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
  std::vector<OperandType> types;
  for (const Value& value : values) types.push_back({value.tensor.dtype(), false});
  return result_type(types);
}

void require_inputs(std::string_view layer, std::span<const Shape> inputs) {
  if (inputs.empty()) core::throw_shape_error(layer, "inputs", "1 or more", "none");
  for (const Shape& shape : inputs) {
    if (shape.rank() < 1) {
      core::throw_shape_error(layer, "inputs", "rank 1 or more", shape.to_string());
    }
  }
}

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

Tensor step_mask(const Value& value, int rank) {
  if (!value.mask || value.tensor.rank() != rank) return {};
  return value.mask->reshaped(with_appended_axis(value.mask->shape(), 1));
}

Tensor where(Context& ctx, std::string_view layer, const Tensor& mask, const Tensor& x,
             double other) {
  const Tensor number = Tensor::from(Shape(), std::span<const double>(&other, 1));
  const Tensor numbers = numbers_as(ctx, x, x.dtype());
  const ConstView steps = ops::broadcast_to(layer, mask, x.shape());
  Tensor chosen = ctx.tensor(x.shape(), numbers.dtype());
  const Tensor elsewhere = as_type(ctx, number, numbers.dtype());
  ops::select(ctx, steps, numbers, elsewhere, chosen);
  return as_type(ctx, chosen, x.dtype());
}

}  // namespace grouphead::nn
