#pragma once

// What the tests of layers and models share.

#include <span>
#include <vector>

#include "grouphead/layers/layer.h"
#include "support.h"

namespace grouphead::testing_support {

/// Uniform in [-1, 1), the same numbers (rounded) for f32 and f64.
inline Tensor random_tensor(const Shape& shape, std::uint64_t seed, Dtype dtype = Dtype::f32) {
  Tensor x(shape, dtype);
  for (Index i = 0; i < x.size(); ++i) {
    const std::uint32_t word = philox4x32({seed, 0}, static_cast<std::uint64_t>(i)).words[0];
    const float value = static_cast<float>(word) * 0x1p-31F - 1;
    if (dtype == Dtype::f64) {
      x.data<double>()[i] = static_cast<double>(value);
    } else {
      x.data<float>()[i] = value;
    }
  }
  return x;
}

inline Tensor random_tokens(const Shape& shape, Index vocabulary, std::uint64_t seed) {
  Tensor tokens(shape, Dtype::i32);
  for (Index i = 0; i < tokens.size(); ++i) {
    const std::uint32_t word = philox4x32({seed, 1}, static_cast<std::uint64_t>(i)).words[0];
    tokens.data<std::int32_t>()[i] = static_cast<std::int32_t>(word % vocabulary);
  }
  return tokens;
}

inline double element(ConstView x, Index i) {
  return x.dtype() == Dtype::f64 ? x.data<double>()[i] : static_cast<double>(x.data<float>()[i]);
}

/// The elements of `from` into `to`, f32 or f64 either way.
inline void convert(ConstView from, View to) {
  for (Index i = 0; i < from.size(); ++i) {
    if (to.dtype() == Dtype::f64) {
      to.data<double>()[i] = element(from, i);
    } else {
      to.data<float>()[i] = static_cast<float>(element(from, i));
    }
  }
}

inline Tensor converted(ConstView from, Dtype dtype) {
  Tensor to(from.shape(), dtype);
  convert(from, to);
  return to;
}

/// A contiguous copy.
inline Tensor dense(ConstView view) {
  Tensor out(view.shape(), view.dtype());
  copy(view, out);
  return out;
}

/// Random numbers for every parameter: no zero biases or unit gains that could hide a mistake.
inline void randomize(Layer& layer, std::uint64_t seed) {
  for (const auto& entry : layer.parameters()) {
    convert(random_tensor(entry.parameter->shape(), ++seed), entry.parameter->edit());
  }
}

/// Gives `to`, of another type, the parameters of `from`.
inline void copy_parameters(const Layer& from, Layer& to) {
  const auto source = from.parameters();
  const auto target = to.parameters();
  ASSERT_EQ(source.size(), target.size());
  for (std::size_t i = 0; i < source.size(); ++i) {
    ASSERT_EQ(source[i].path, target[i].path);
    convert(source[i].parameter->value(), target[i].parameter->edit());
  }
}

inline void build(Layer& layer, std::vector<Shape> inputs, std::uint64_t seed = 1) {
  RandomStream random(seed);
  layer.build(inputs, random);
}

/// forward() of one output without masks.
inline Tensor call(Context& ctx, const Layer& layer, const std::vector<Tensor>& in,
                   const Mode& mode = {}, std::unique_ptr<Saved>* saved = nullptr) {
  std::vector<Value> values;
  for (const Tensor& x : in) values.push_back({x, {}});
  return layer.forward(ctx, values, mode, saved).at(0).tensor;
}

/// backward() of one output: the inputs' gradients, added to zeros; absent for integer inputs.
inline std::vector<Tensor> call_backward(Context& ctx, const Layer& layer, Saved& saved,
                                         const Tensor& d_out, const std::vector<Tensor>& in,
                                         Grads& grads) {
  std::vector<Tensor> d_in(in.size());
  std::vector<View> views(in.size());
  for (std::size_t i = 0; i < in.size(); ++i) {
    if (in[i].dtype() == Dtype::i32) continue;
    d_in[i] = Tensor::zeros(in[i].shape(), in[i].dtype());
    views[i] = d_in[i];
  }
  const ConstView d_y = d_out;
  layer.backward(ctx, saved, std::span(&d_y, 1), views, grads);
  return d_in;
}

}  // namespace grouphead::testing_support
