#include "nn/layers/random_numbers.h"

#include <cmath>

#include "core/check.h"
#include "grouphead/parallel/ring_attention.h"
#include "nn/operations/promotion.h"
#include "nn/sequence_scope.h"
#include "ops/broadcasting.h"
#include "ops/dropout.h"
#include "ops/random_fill.h"
#include "ops/strided.h"

namespace grouphead::nn {

Shape NoiseShape::of(const Shape& input) const {
  if (is_whole()) return input;
  const int added = input.rank() - static_cast<int>(axes_.size());
  bool fits = added >= 0;
  std::vector<Index> dims;
  for (std::size_t i = 0; fits && i < axes_.size(); ++i) {
    const int axis = static_cast<int>(i);
    dims.push_back(axes_[i] < 0 ? input[axis] : axes_[i]);
    fits = dims.back() == 1 || dims.back() == input[axis + added];
  }
  if (!fits) {
    core::throw_shape_error(layer_, "noise_shape", "axes of 1 or of " + input.to_string(),
                            Shape::partial(axes_).to_string());
  }
  return Shape(dims);
}

std::vector<Index> noise_shape_from(std::string_view layer, const ConfigValue& value) {
  std::vector<Index> axes;
  if (value.is_null()) return axes;
  for (const ConfigValue& size : value.as_list("noise_shape")) {
    axes.push_back(size.is_null() ? -1 : size.as_integer("noise_shape"));
    if (!size.is_null() && axes.back() < 1) {
      core::throw_config_error(layer, "noise_shape", "null and numbers of 1 or more",
                               std::to_string(axes.back()));
    }
  }
  return axes;
}

ConfigValue noise_shape_config(const std::vector<Index>& axes) {
  if (axes.empty()) return {};
  ConfigValue::List list;
  for (const Index size : axes) list.push_back(size < 0 ? ConfigValue() : ConfigValue(size));
  return list;
}

void multiply(Context& ctx, ConstView a, ConstView b, View y) {
  ops::binary_forward(ctx, ops::Binary::multiply, a, b, y);
}

namespace {

// Elements of the draw are those of the whole sequences, of which this process has two blocks each.
void drop_part(Context& ctx, const Communicator& job, double rate, const RandomDraw& draw,
               Dtype grid, ConstView x, View y) {
  const Index positions = x.dim(1) * job.size();
  const RingShare share = ring_share(positions, job.rank(), job.size());
  if (x.size() == 0) return;
  const Index blocks = 2 * x.dim(0);
  const Index width = x.size() / (x.dim(0) * x.dim(1));
  const ConstView from = x.reshaped({blocks, share.block * width});
  const View to = y.reshaped(from.shape());
  for (Index i = 0; i < blocks; ++i) {
    const Index begin = i % 2 == 0 ? share.first : share.second;
    ops::dropout(ctx, from.slice(0, i, i + 1), rate, draw, grid, to.slice(0, i, i + 1),
                 (i / 2 * positions + begin) * width);
  }
}

}  // namespace

void drop(Context& ctx, double rate, const RandomDraw& draw, const NoiseShape& noise_shape,
          const DtypePolicy& policy, ConstView x, View y) {
  const Communicator* const sequence = SequenceScope::current();
  if (noise_shape.is_whole() && sequence != nullptr) {
    return drop_part(ctx, *sequence, rate, draw, policy.compute(), x, y);
  }
  if (noise_shape.is_whole()) return ops::dropout(ctx, x, rate, draw, policy.compute(), y);
  const Shape shape = noise_shape.of(x.shape());
  const double one = 1;
  const Tensor number = as_type(ctx, Tensor::from(Shape(), std::span(&one, 1)), x.dtype());
  Tensor factors = ctx.tensor(shape, x.dtype());
  ops::copy_elements(ctx, ops::broadcast_to("dropout", number, shape), factors);
  ops::dropout(ctx, factors, rate, draw, policy.compute(), factors);
  multiply(ctx, x, factors, y);
}

Tensor normal_numbers(Context& ctx, const Shape& shape, double mean, double stddev, RandomKey key,
                      const DtypePolicy& policy) {
  Tensor numbers = ctx.tensor(shape, policy.compute());
  ops::fill_normal(numbers, mean, stddev, key);
  return as_type(ctx, numbers, policy.arithmetic());
}

void alpha_drop(Context& ctx, double rate, RandomKey key, const NoiseShape& noise_shape,
                bool is_gradient, ConstView x, View y) {
  constexpr double kLowest = -1.6732632423543772848 * 1.0507009873554804934;
  const double a = 1 / std::sqrt((1 - rate) * (1 + rate * kLowest * kLowest));
  const double b = -a * kLowest * rate;
  const auto number = [&](double value) {
    return as_type(ctx, Tensor::from(Shape(), std::span<const double>(&value, 1)), x.dtype());
  };
  Tensor uniform = ctx.tensor(noise_shape.of(x.shape()), Dtype::f32);
  ops::fill_uniform(uniform, 0, 1, key);
  const double limit = rate;
  const Tensor least =
      as_type(ctx, Tensor::from(Shape(), std::span<const double>(&limit, 1)), Dtype::f32);
  Tensor kept = ctx.tensor(uniform.shape(), Dtype::boolean);
  ops::compare(ctx, ops::Comparison::greater_equal, uniform, least, kept);
  const Tensor elsewhere = number(is_gradient ? 0 : kLowest);
  ops::select(ctx, kept, x, elsewhere, y);
  const Tensor factor = number(a);
  multiply(ctx, y, factor, y);
  if (is_gradient) return;
  const Tensor shift = number(b);
  ops::binary_forward(ctx, ops::Binary::add, y, shift, y);
}

}  // namespace grouphead::nn
