// Gradients of the layers around attention against central differences, and of every option.

#include <gtest/gtest.h>

#include "gradient_support.h"
#include "grouphead/layers/layers.h"

namespace grouphead {
namespace {

using namespace testing_support;  // NOLINT(google-build-using-namespace)

class AroundGradient : public ::testing::Test {
 protected:
  template <class L, class Config>
  void check(Config config, const std::vector<Shape>& shapes) {
    config.dtype = Dtype::f64;
    L layer(config);
    SCOPED_TRACE(layer.get_config().to_string());
    build(layer, shapes);
    randomize(layer, 5);
    std::vector<Tensor> in;
    for (const Shape& shape : shapes) in.push_back(random_tensor(shape, in.size() + 3, Dtype::f64));
    check_gradients(ctx_, {.layer = layer, .in = in});
  }

  Context ctx_{{.num_threads = 2}};
};

TEST_F(AroundGradient, Merging) {
  check<Add>(AddConfig{}, {{2, 3, 4}, {2, 3, 4}});
  check<Add>(AddConfig{}, {{2, 3, 4}, {2, 1, 4}, {2, 4}, {2, 3, 1}});
  check<Add>(AddConfig{}, {{2, 4}, {2, 3, 4}, {2, 5, 3, 1}});
  check<Multiply>(MultiplyConfig{}, {{2, 3, 4}, {2, 3, 4}});
  check<Multiply>(MultiplyConfig{}, {{2, 3, 4}, {2, 1, 4}, {2, 4}, {2, 3, 1}});
  check<Multiply>(MultiplyConfig{}, {{2, 3}});
  for (const Index axis : {-1, 1, 0}) {
    check<Concatenate>(ConcatenateConfig{.axis = axis}, {{2, 3, 4}, {2, 3, 4}, {2, 3, 4}});
  }
  check<Concatenate>(ConcatenateConfig{.axis = -2}, {{2, 3, 4}, {2, 1, 4}});
}

TEST_F(AroundGradient, Reshaping) {
  check<Reshape>(ReshapeConfig{.target_shape = Shape::partial({2, -1})}, {{2, 3, 4}});
  check<Permute>(PermuteConfig{.dims = {2, 1}}, {{2, 3, 4}});
  check<Permute>(PermuteConfig{.dims = {3, 1, 2}}, {{2, 3, 4, 2}});
  check<Flatten>(FlattenConfig{}, {{2, 3, 4}});
  check<Flatten>(FlattenConfig{.data_format = DataFormat::channels_first}, {{2, 3, 4, 2}});
}

TEST_F(AroundGradient, Pooling) {
  for (const DataFormat format : {DataFormat::channels_last, DataFormat::channels_first}) {
    for (const bool keepdims : {false, true}) {
      check<GlobalAveragePooling1D>(
          GlobalAveragePooling1DConfig{.data_format = format, .keepdims = keepdims}, {{2, 3, 4}});
      check<GlobalMaxPooling1D>(
          GlobalMaxPooling1DConfig{.data_format = format, .keepdims = keepdims}, {{2, 3, 4}});
    }
  }
}

TEST_F(AroundGradient, MaskedMean) {
  GlobalAveragePooling1D layer({.dtype = Dtype::f64});
  const bool steps[] = {true, false, true, true, false, false};
  const Tensor mask = Tensor::from({2, 3}, std::span<const bool>(steps));
  const Tensor x = random_tensor({2, 3, 4}, 1, Dtype::f64);
  const Value in[] = {{x, {}}, {mask, {}}};
  std::unique_ptr<Saved> saved;
  layer.forward(ctx_, in, {}, &saved);
  const Tensor d_y = random_tensor({2, 4}, 2, Dtype::f64);
  Tensor d_x = Tensor::zeros(x.shape(), Dtype::f64);
  View d_in[] = {d_x, {}};
  const ConstView d_out = d_y;
  Grads grads(ctx_, {});
  layer.backward(ctx_, *saved, std::span(&d_out, 1), d_in, grads);
  const double counts[] = {2, 1};
  for (Index i = 0; i < x.size(); ++i) {
    const Index batch = i / 12;
    const double each = element(d_y, batch * 4 + i % 4) / counts[batch];
    EXPECT_EQ(element(d_x, i), steps[i / 4] ? each : 0);
  }
}

TEST_F(AroundGradient, Masking) { check<Masking>(MaskingConfig{}, {{2, 3, 4}}); }

TEST_F(AroundGradient, Normalization) {
  for (const std::vector<Index>& axis :
       std::vector<std::vector<Index>>{{-1}, {1}, {1, 2}, {2, 1}, {-1, 1}, {0, 2}}) {
    for (const bool rms_scaling : {false, true}) {
      check<LayerNormalization>(LayerNormalizationConfig{.axis = axis, .rms_scaling = rms_scaling},
                                {{2, 3, 4}});
    }
    check<RMSNormalization>(RMSNormalizationConfig{.axis = axis}, {{2, 3, 4}});
  }
  check<LayerNormalization>(LayerNormalizationConfig{.center = false}, {{2, 3, 4}});
  check<LayerNormalization>(LayerNormalizationConfig{.scale = false}, {{2, 3, 4}});
  check<LayerNormalization>(LayerNormalizationConfig{.center = false, .scale = false}, {{2, 20}});
  check<LayerNormalization>(LayerNormalizationConfig{.rms_scaling = true}, {{3, 70}});
  check<RMSNormalization>(RMSNormalizationConfig{.epsilon = 0.1}, {{3, 70}});
}

}  // namespace
}  // namespace grouphead
