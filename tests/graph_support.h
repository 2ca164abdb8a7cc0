#pragma once

// Small layers for the tests of models.

#include "gradient_support.h"
#include "grouphead/models/model.h"
#include "ops/arithmetic.h"

namespace grouphead::testing_support {

/// What these layers keep: the shapes of their inputs.
struct ShapesSaved final : Saved {
  std::vector<Shape> shapes;
};

/// A layer without parameters.
class PlainLayer : public Layer {
 public:
  using Layer::Layer;
  void append_parameters(const std::string& /*prefix*/, ParameterList& /*out*/) override {}

 protected:
  void create_parameters(std::span<const Shape> /*inputs*/, RandomStream& /*random*/) override {}
  static void keep(std::span<const Value> in, std::unique_ptr<Saved>* saved) {
    if (saved == nullptr) return;
    auto kept = std::make_unique<ShapesSaved>();
    for (const Value& value : in) kept->shapes.push_back(value.tensor.shape());
    *saved = std::move(kept);
  }
};

/// The sum of any number of tensors; the mask is the first's.
class Sum final : public PlainLayer {
 public:
  explicit Sum(const DtypePolicy& dtype = {}, std::string name = "sum")
      : PlainLayer(std::move(name), dtype) {}
  std::string_view class_name() const override { return "Sum"; }
  std::vector<Value> forward(Context& ctx, std::span<const Value> in, const Mode& /*mode*/,
                             std::unique_ptr<Saved>* saved) const override {
    keep(in, saved);
    Tensor sum = ctx.zeros(in[0].tensor.shape(), dtype());
    for (const Value& value : in) ops::add(ctx, sum, value.tensor, sum);
    return {Value{sum, in[0].mask}};
  }
  void backward(Context& ctx, Saved& /*saved*/, std::span<const ConstView> d_out,
                std::span<View> d_in, Grads& /*grads*/) const override {
    if (!d_out[0].has_value()) return;
    for (const View& d_x : d_in) {
      if (d_x.has_value()) ops::add(ctx, d_x, d_out[0], d_x);
    }
  }
};

/// Two outputs of one input: twice and three times it. Counts its backward calls.
class TwoMultiples final : public PlainLayer {
 public:
  explicit TwoMultiples(const DtypePolicy& dtype = {}) : PlainLayer("two_multiples", dtype) {}
  std::string_view class_name() const override { return "TwoMultiples"; }
  std::vector<Shape> output_shapes(std::span<const Shape> inputs,
                                   const CallArguments* /*arguments*/) const override {
    return {inputs[0], inputs[0]};
  }
  std::vector<Value> forward(Context& ctx, std::span<const Value> in, const Mode& /*mode*/,
                             std::unique_ptr<Saved>* saved) const override {
    keep(in, saved);
    std::vector<Value> out;
    for (const double factor : {2.0, 3.0}) {
      out.push_back({ctx.tensor(in[0].tensor.shape(), dtype()), in[0].mask});
      ops::scale(ctx, in[0].tensor, factor, out.back().tensor);
    }
    return out;
  }
  void backward(Context& ctx, Saved& /*saved*/, std::span<const ConstView> d_out,
                std::span<View> d_in, Grads& /*grads*/) const override {
    ++num_backward_calls;
    for (std::size_t i = 0; i < d_out.size(); ++i) {
      if (!d_out[i].has_value() || !d_in[0].has_value()) continue;
      Tensor scaled = ctx.tensor(d_out[i].shape(), dtype());
      ops::scale(ctx, d_out[i], i == 0 ? 2 : 3, scaled);
      ops::add(ctx, d_in[0], scaled, d_in[0]);
    }
  }

  mutable int num_backward_calls = 0;
};

inline std::vector<Value> forward(Context& ctx, const Layer& layer, const std::vector<Tensor>& in,
                                  const Mode& mode = {}, std::unique_ptr<Saved>* saved = nullptr) {
  std::vector<Value> values;
  for (const Tensor& x : in) values.push_back({x, {}});
  return layer.forward(ctx, values, mode, saved);
}

}  // namespace grouphead::testing_support
