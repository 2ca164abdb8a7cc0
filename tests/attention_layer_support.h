#pragma once

// What the tests of GroupQueryAttention and MultiHeadAttention share.

#include <memory>

#include "gradient_support.h"
#include "grouphead/core/tensor_functions.h"
#include "grouphead/layers/group_query_attention.h"
#include "grouphead/layers/multi_head_attention.h"

namespace grouphead::testing_support {

inline std::vector<Shape> shapes_of(const std::vector<Value>& in) {
  std::vector<Shape> shapes;
  for (const Value& value : in) {
    shapes.push_back(value.tensor.has_value() ? value.tensor.shape() : Shape());
  }
  return shapes;
}

/// The numbers of an input that is given.
inline Tensor tensor_of(const LayerInput& x) { return contiguous(x.view()); }

/// Query, value and key as operands; the key only where it is given.
inline std::vector<Value> operands_of(const AttentionInputs& in) {
  std::vector<Value> operands = {{tensor_of(in.query), {}}, {tensor_of(in.value), {}}};
  if (in.key.has_value()) operands.push_back({tensor_of(in.key), {}});
  return operands;
}

/// Built for `in`, with random parameters.
template <class LayerType, class Config>
std::unique_ptr<LayerType> made(const Config& config, const std::vector<Value>& in) {
  auto layer = std::make_unique<LayerType>(config);
  build(*layer, shapes_of(in));
  randomize(*layer, 5);
  return layer;
}

inline Tensor bools(const Shape& shape, std::initializer_list<int> values) {
  Tensor mask(shape, Dtype::boolean);
  std::copy(values.begin(), values.end(), mask.data<bool>());
  return mask;
}

/// True with a chance of three in four, and at the first element of each row.
inline Tensor random_mask(const Shape& shape, std::uint64_t seed) {
  Tensor mask(shape, Dtype::boolean);
  for (Index i = 0; i < mask.size(); ++i) {
    const std::uint32_t word = philox4x32({seed, 2}, static_cast<std::uint64_t>(i)).words[0];
    mask.data<bool>()[i] = i % shape.back() == 0 || word % 4 != 0;
  }
  return mask;
}

/// A call of an attention layer, and the scalar sum(w y) + sum(w' scores) + penalties.
struct AttentionProblem {
  Layer& layer;
  std::vector<Value> in;
  AttentionArguments arguments{};
  bool training = false;
  bool threefry = false;  ///< no stream: the layer's own draws
  bool has_losses = false;

  std::vector<Value> run(Context& ctx, LossSink* losses, std::unique_ptr<Saved>* saved) const {
    RandomStream random(7);
    const Mode mode{.training = training,
                    .random = threefry ? nullptr : &random,
                    .losses = has_losses ? losses : nullptr,
                    .arguments = &arguments};
    return layer.call(ctx, in, mode, saved);
  }

  WeightedSum scalar(Context& ctx) const {
    LossSink losses;
    const std::vector<Value> out = run(ctx, &losses, nullptr);
    WeightedSum sum;
    for (std::size_t i = 0; i < out.size(); ++i) {
      const Tensor& y = out[i].tensor;
      const WeightedSum part = weighted_sum(y, random_tensor(y.shape(), 99 + i, y.dtype()));
      sum.value += part.value;
      sum.magnitude += part.magnitude;
    }
    for (const double loss : losses.losses()) {
      sum.value += loss;
      sum.magnitude += std::abs(loss);
    }
    return sum;
  }

  /// Parameters' gradients, then those of the floating operands.
  std::vector<Tensor> gradients(Context& ctx) const {
    LossSink losses;
    std::unique_ptr<Saved> saved;
    const std::vector<Value> out = run(ctx, &losses, &saved);
    std::vector<Tensor> cotangents;
    for (std::size_t i = 0; i < out.size(); ++i) {
      cotangents.push_back(random_tensor(out[i].tensor.shape(), 99 + i, layer.dtype()));
    }
    const auto parameters = layer.parameters();
    Grads grads(ctx, parameters);
    std::vector<Tensor> d_in(in.size());
    for (std::size_t i = 0; i < in.size(); ++i) {
      const Tensor& x = in[i].tensor;
      if (x.has_value() && x.dtype() == layer.dtype())
        d_in[i] = Tensor::zeros(x.shape(), x.dtype());
    }
    std::vector<View> views(d_in.begin(), d_in.end());
    const std::vector<ConstView> d_out(cotangents.begin(), cotangents.end());
    layer.call_backward(ctx, *saved, d_out, views, grads);
    std::vector<Tensor> found;
    for (const auto& entry : parameters) found.push_back(dense(grads.of(*entry.parameter)));
    for (const Tensor& d_x : d_in) {
      if (d_x.has_value()) found.push_back(d_x);
    }
    return found;
  }
};

/// Every parameter and floating operand of an f64 problem against central differences.
inline void check_attention_gradients(Context& ctx, const AttentionProblem& problem) {
  const std::vector<Tensor> found = problem.gradients(ctx);
  std::vector<std::function<View()>> editors;
  std::vector<std::string> names;
  for (const auto& entry : problem.layer.parameters()) {
    editors.push_back([parameter = entry.parameter] { return parameter->edit(); });
    names.push_back(entry.path);
  }
  for (std::size_t i = 0; i < problem.in.size(); ++i) {
    Tensor x = problem.in[i].tensor;
    if (!x.has_value() || x.dtype() != Dtype::f64) continue;
    editors.push_back([x]() mutable { return x.view(); });
    names.push_back("operand " + std::to_string(i));
  }
  ASSERT_EQ(editors.size(), found.size());
  for (std::size_t k = 0; k < editors.size(); ++k) {
    Tensor want(found[k].shape(), Dtype::f64);
    Tensor bounds(found[k].shape(), Dtype::f64);
    for (Index i = 0; i < want.size(); ++i) {
      const auto edited_sum = [&] {
        editors[k]();  // what was derived from the old number is stale
        return problem.scalar(ctx);
      };
      const Difference d = central_difference(editors[k]().data<double>()[i], edited_sum);
      want.data<double>()[i] = d.value;
      bounds.data<double>()[i] = d.bound;
    }
    const testing::Comparison result =
        testing::compare(names[k], found[k], want, ConstView(bounds));
    EXPECT_TRUE(result.ok()) << result.to_string();
  }
}

}  // namespace grouphead::testing_support
