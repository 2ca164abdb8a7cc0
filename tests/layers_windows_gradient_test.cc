// Gradients of convolutions, poolings, resizings and normalizations of channels, against central
// differences, and of problems that are cut into several blocks, against plain sums.

#include <gtest/gtest.h>

#include "gradient_support.h"
#include "grouphead/layers/layers.h"

namespace grouphead {
namespace {

using namespace testing_support;  // NOLINT(google-build-using-namespace)

class WindowsGradient : public ::testing::Test {
 protected:
  template <class L>
  void check(typename L::Config config, const Shape& shape, bool training = false) {
    config.dtype = Dtype::f64;
    L layer(config);
    SCOPED_TRACE(layer.get_config().to_string());
    build(layer, {shape});
    randomize(layer, 5);
    make_variances_positive(layer);
    check_gradients(
        ctx_, {.layer = layer, .in = {random_tensor(shape, 3, Dtype::f64)}, .training = training});
  }

  static void make_variances_positive(Layer& layer) {
    for (const auto& [path, parameter] : layer.parameters()) {
      if (path != "moving_variance") continue;
      const View variances = parameter->edit();
      for (Index i = 0; i < variances.size(); ++i) {
        double& variance = variances.data<double>()[i];
        variance = std::abs(variance) + 0.5;
      }
    }
  }

  Context ctx_{{.num_threads = 2}};
};

TEST_F(WindowsGradient, Conv1D) {
  for (const Padding padding : {Padding::valid, Padding::same, Padding::causal}) {
    check<Conv1D>({.filters = 4, .kernel_size = 3, .padding = padding, .dilation_rate = 2},
                  {2, 7, 4});
    check<Conv1D>({.filters = 4, .kernel_size = 3, .strides = 2, .padding = padding, .groups = 2},
                  {2, 7, 4});
    check<Conv1D>({.filters = 8, .kernel_size = 2, .padding = padding, .groups = 4}, {2, 5, 4});
  }
  check<Conv1D>({.filters = 3, .kernel_size = 2, .strides = 2, .activation = Activation::tanh},
                {2, 6, 4});
  check<Conv1D>({.filters = 3,
                 .kernel_size = 2,
                 .data_format = DataFormat::channels_first,
                 .activation = Activation::softmax,
                 .use_bias = false},
                {2, 4, 5});
}

TEST_F(WindowsGradient, Conv2D) {
  check<Conv2D>({.filters = 3, .kernel_size = {2, 3}, .padding = Padding::same}, {2, 3, 4, 2});
  check<Conv2D>({.filters = 4, .kernel_size = {3, 2}, .strides = {2, 1}, .groups = 2},
                {2, 5, 4, 2});
  check<Conv2D>({.filters = 2,
                 .kernel_size = {2, 2},
                 .data_format = DataFormat::channels_first,
                 .dilation_rate = {1, 2}},
                {2, 3, 4, 5});
}

TEST_F(WindowsGradient, DepthwiseAndSeparable) {
  check<DepthwiseConv1D>({.kernel_size = 3, .strides = 2, .padding = Padding::same}, {2, 6, 3});
  check<DepthwiseConv2D>({.kernel_size = {2, 3}, .depth_multiplier = 2}, {2, 3, 4, 2});
  check<SeparableConv1D>({.filters = 4, .kernel_size = 3, .depth_multiplier = 2}, {2, 6, 3});
  check<SeparableConv2D>({.filters = 3, .kernel_size = {2, 2}, .padding = Padding::same},
                         {2, 3, 4, 2});
}

TEST_F(WindowsGradient, Poolings) {
  for (const DataFormat format : {DataFormat::channels_last, DataFormat::channels_first}) {
    check<MaxPooling1D>({.pool_size = 3, .strides = 2, .data_format = format}, {2, 7, 5});
    check<AveragePooling1D>(
        {.pool_size = 3, .strides = 2, .padding = Padding::same, .data_format = format}, {2, 7, 4});
    check<GlobalMaxPooling2D>({.data_format = format}, {2, 3, 4, 2});
    check<GlobalAveragePooling2D>({.data_format = format, .keepdims = true}, {2, 3, 4, 2});
  }
  check<MaxPooling2D>({.pool_size = {2, 3}, .strides = {{1, 2}}, .padding = Padding::same},
                      {2, 3, 4, 2});
  check<AveragePooling2D>({.pool_size = {2, 3}, .strides = {{1, 2}}}, {2, 3, 4, 2});
}

TEST_F(WindowsGradient, Resizings) {
  check<ZeroPadding1D>({.padding = {1, 2}}, {2, 3, 2});
  check<ZeroPadding2D>({.padding = {{{1, 0}, {0, 2}}}}, {2, 2, 3, 2});
  check<Cropping1D>({.cropping = {2, 1}}, {2, 5, 2});
  check<Cropping2D>({.cropping = {{{1, 0}, {0, 1}}}}, {2, 3, 3, 2});
  check<UpSampling1D>({.size = 3}, {2, 3, 2});
  check<UpSampling2D>({.size = {2, 3}, .data_format = DataFormat::channels_first}, {2, 2, 3, 2});
}

TEST_F(WindowsGradient, Normalizations) {
  for (const bool training : {false, true}) {
    check<BatchNormalization>({}, {3, 4, 2}, training);
    check<BatchNormalization>({.axis = 1, .center = false}, {3, 2, 4}, training);
    check<BatchNormalization>({.scale = false}, {7, 3}, training);
  }
  check<GroupNormalization>({.groups = 2}, {2, 3, 4});
  check<GroupNormalization>({.groups = 3, .axis = 1, .scale = false}, {2, 6, 2, 2});
  check<GroupNormalization>({.groups = -1, .center = false}, {2, 3, 4});
  check<UnitNormalization>({}, {2, 3, 4});
  check<UnitNormalization>({.axis = {1, 2}}, {2, 3, 4});
  check<UnitNormalization>({.axis = {1}}, {2, 3, 4});
}

// ---- Problems of several blocks ----------------------------------------------------------------

/// x [B, H, W, M], w [Kh, Kw, M, N], all by the definition.
struct Plain {
  const Tensor& x;
  const Tensor& w;
  Index stride, before;

  /// body(index of y, index of x, index of w) for each product.
  template <class Body>
  void for_products(const Shape& y, Body&& body) const {
    const Shape& from = x.shape();
    const Shape& kernel = w.shape();
    for (Index o = 0; o < y.size() / y[3]; ++o) {
      const Index j = o % y[2];
      const Index i = o / y[2] % y[1];
      const Index b = o / y[2] / y[1];
      for (Index k = 0; k < kernel.size() / kernel[3]; ++k) {
        const Index m = k % kernel[2];
        const Index c = j * stride - before + k / kernel[2] % kernel[1];
        const Index r = i * stride - before + k / kernel[2] / kernel[1];
        if (r < 0 || r >= from[1] || c < 0 || c >= from[2]) continue;
        const Index at = ((b * from[1] + r) * from[2] + c) * from[3] + m;
        for (Index n = 0; n < y[3]; ++n) body(o * y[3] + n, at, k * y[3] + n);
      }
    }
  }
};

void expect_near(ConstView got, const std::vector<double>& want, double scale) {
  double worst = 0;
  for (Index i = 0; i < got.size(); ++i) {
    worst = std::max(worst, std::abs(element(got, i) - want[static_cast<std::size_t>(i)]));
  }
  EXPECT_LE(worst, scale);
}

void check_blocks(Conv2DConfig config, const Shape& shape, Index before) {
  Context ctx({.num_threads = 2});
  Conv2D layer(config);
  build(layer, {shape});
  randomize(layer, 5);
  const Tensor x = random_tensor(shape, 1);
  std::unique_ptr<Saved> saved;
  const Tensor y = layer(ctx, x, &saved);
  const Tensor d_y = random_tensor(y.shape(), 2);
  const auto parameters = layer.parameters();
  Grads grads(ctx, parameters);
  const Tensor d_x = call_backward(ctx, layer, *saved, d_y, {x}, grads)[0];

  Tensor w(parameters[0].parameter->shape(), Dtype::f32);
  copy(parameters[0].parameter->value(), w);
  std::vector<double> want_y(static_cast<std::size_t>(y.size()));
  std::vector<double> want_x(static_cast<std::size_t>(x.size()));
  std::vector<double> want_w(static_cast<std::size_t>(w.size()));
  Plain{x, w, config.strides[0], before}.for_products(y.shape(), [&](Index o, Index i, Index k) {
    want_y[static_cast<std::size_t>(o)] += element(x, i) * element(w, k);
    want_x[static_cast<std::size_t>(i)] += element(d_y, o) * element(w, k);
    want_w[static_cast<std::size_t>(k)] += element(d_y, o) * element(x, i);
  });
  // Sums of a few hundred terms of about 1, and for the weights of thousands.
  expect_near(y, want_y, 1e-3);
  expect_near(d_x, want_x, 1e-3);
  expect_near(dense(grads.of(*parameters[0].parameter)), want_w, 2e-2);
}

TEST_F(WindowsGradient, OfBlocksOfPatches) {
  // One line that is cut, lines of an image, and several entries in one block.
  check_blocks({.filters = 3, .kernel_size = {1, 9}, .strides = {2, 2}, .use_bias = false},
               {1, 1, 9007, 40}, 0);
  check_blocks({.filters = 3, .kernel_size = {3, 3}, .padding = Padding::same, .use_bias = false},
               {2, 71, 80, 32}, 1);
  check_blocks({.filters = 3, .kernel_size = {3, 3}, .padding = Padding::same, .use_bias = false},
               {9, 20, 31, 32}, 1);
}

}  // namespace
}  // namespace grouphead
