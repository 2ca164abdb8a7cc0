// What convolutions, poolings, resizings and normalizations of channels promise besides their
// numbers: configurations, shapes with unknown axes, error texts, and the same bits for any number
// of threads.

#include <gmock/gmock.h>

#include "gradient_support.h"
#include "grouphead/layers/layers.h"
#include "grouphead/layers/serialization.h"

namespace grouphead {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using namespace testing_support;  // NOLINT(google-build-using-namespace)

template <class L>
std::vector<Shape> shapes(const L& layer, const Shape& input) {
  return layer.output_shapes(std::span(&input, 1), nullptr);
}

TEST(Windows, ShapesWithUnknownAxes) {
  const Shape sequence = Shape::partial({-1, -1, 4});
  const Shape image = Shape::partial({-1, 9, -1, 4});
  EXPECT_THAT(shapes(Conv1D({.filters = 6, .kernel_size = 3}), sequence),
              ElementsAre(Shape::partial({-1, -1, 6})));
  EXPECT_THAT(shapes(Conv2D({.filters = 6, .kernel_size = {3, 3}, .strides = {2, 2}}), image),
              ElementsAre(Shape::partial({-1, 4, -1, 6})));
  EXPECT_THAT(shapes(DepthwiseConv1D({.kernel_size = 3, .depth_multiplier = 2}), sequence),
              ElementsAre(Shape::partial({-1, -1, 8})));
  EXPECT_THAT(shapes(DepthwiseConv1D({.kernel_size = 3}), Shape::partial({-1, 5, -1})),
              ElementsAre(Shape::partial({-1, 3, -1})));
  EXPECT_THAT(shapes(MaxPooling2D({.padding = Padding::same}), image),
              ElementsAre(Shape::partial({-1, 5, -1, 4})));
  EXPECT_THAT(shapes(GlobalMaxPooling2D({.keepdims = true}), image),
              ElementsAre(Shape::partial({-1, 1, 1, 4})));
  EXPECT_THAT(shapes(ZeroPadding2D({.padding = {{{1, 2}, {3, 4}}}}), image),
              ElementsAre(Shape::partial({-1, 12, -1, 4})));
  EXPECT_THAT(shapes(Cropping1D(), sequence), ElementsAre(sequence));
  EXPECT_THAT(shapes(UpSampling1D({.size = 3}), Shape::partial({-1, 2, -1})),
              ElementsAre(Shape::partial({-1, 6, -1})));
}

TEST(Windows, ConfigurationsMakeTheLayerAgain) {
  const std::shared_ptr<Layer> layers[] = {
      std::make_shared<Conv1D>(Conv1DConfig{.filters = 4,
                                            .kernel_size = 3,
                                            .padding = Padding::causal,
                                            .dilation_rate = 2,
                                            .groups = 2,
                                            .activation = Activation::relu,
                                            .kernel_regularizer = "l2"}),
      std::make_shared<Conv2D>(Conv2DConfig{.filters = 4,
                                            .kernel_size = {3, 2},
                                            .strides = {2, 1},
                                            .data_format = DataFormat::channels_first}),
      std::make_shared<DepthwiseConv1D>(
          DepthwiseConv1DConfig{.kernel_size = 3, .depth_multiplier = 2}),
      std::make_shared<DepthwiseConv2D>(
          DepthwiseConv2DConfig{.kernel_size = {3, 1}, .depthwise_constraint = "non_neg"}),
      std::make_shared<SeparableConv1D>(
          SeparableConv1DConfig{.filters = 4, .kernel_size = 3, .pointwise_regularizer = "l1"}),
      std::make_shared<SeparableConv2D>(
          SeparableConv2DConfig{.filters = 4, .kernel_size = {3, 1}, .use_bias = false}),
      std::make_shared<MaxPooling1D>(MaxPooling1DConfig{.pool_size = 3, .strides = 2}),
      std::make_shared<AveragePooling1D>(),
      std::make_shared<MaxPooling2D>(MaxPooling2DConfig{.pool_size = {2, 3}}),
      std::make_shared<AveragePooling2D>(AveragePooling2DConfig{.padding = Padding::same}),
      std::make_shared<GlobalMaxPooling2D>(GlobalMaxPooling2DConfig{.keepdims = true}),
      std::make_shared<GlobalAveragePooling2D>(),
      std::make_shared<ZeroPadding1D>(ZeroPadding1DConfig{.padding = {0, 2}}),
      std::make_shared<ZeroPadding2D>(ZeroPadding2DConfig{.padding = {{{1, 2}, {3, 4}}}}),
      std::make_shared<Cropping1D>(),
      std::make_shared<Cropping2D>(Cropping2DConfig{.cropping = {{{1, 2}, {3, 4}}}}),
      std::make_shared<UpSampling1D>(UpSampling1DConfig{.size = 3}),
      std::make_shared<UpSampling2D>(UpSampling2DConfig{.size = {3, 1}}),
      std::make_shared<BatchNormalization>(BatchNormalizationConfig{
          .axis = 1, .renorm = true, .renorm_clipping = RenormClipping{.rmax = 2}}),
      std::make_shared<GroupNormalization>(GroupNormalizationConfig{.groups = 2}),
      std::make_shared<UnitNormalization>(UnitNormalizationConfig{.axis = {1, 2}}),
  };
  for (const std::shared_ptr<Layer>& layer : layers) {
    layer->set_trainable(false);
    const ConfigValue config = layer_to_config(*layer);
    const std::shared_ptr<Layer> again = layer_from_config(config);
    EXPECT_EQ(layer_to_config(*again).to_string(), config.to_string());
    EXPECT_FALSE(again->trainable());
    ConfigValue strange = layer->get_config();
    strange.set("colour", "red");
    EXPECT_THAT(error_of<ConfigError>([&] { make_layer(layer->class_name(), strange); }),
                HasSubstr("got colour"));
  }
}

std::string refusal(std::string_view class_name, const ConfigValue::Object& config) {
  return error_of<ConfigError>([&] { make_layer(class_name, ConfigValue(config)); });
}

TEST(Windows, ConfigurationsThatAreRefused) {
  EXPECT_THAT(refusal("Conv1D", {{"filters", 2}, {"kernel_size", 0}}),
              HasSubstr("[conv1d] kernel_size: expected 1 to 1048576, got 0"));
  EXPECT_THAT(refusal("Conv1D", {{"filters", 0}, {"kernel_size", 1}}), HasSubstr("filters"));
  EXPECT_THAT(refusal("Conv1D", {{"filters", 3}, {"kernel_size", 1}, {"groups", 2}}),
              HasSubstr("groups: expected a divisor of filters 3, got 2"));
  EXPECT_THAT(refusal("Conv1D", {{"filters", 3}, {"kernel_size", 1}, {"groups", -1}}),
              HasSubstr("groups"));
  EXPECT_THAT(
      refusal("Conv1D", {{"filters", 3}, {"kernel_size", 1}, {"strides", 2}, {"dilation_rate", 2}}),
      HasSubstr("dilation_rate: expected 1 where strides are above 1"));
  EXPECT_THAT(refusal("Conv1D", {{"filters", 3}, {"kernel_size", Index{1} << 62}}),
              HasSubstr("kernel_size"));
  EXPECT_THAT(refusal("Conv1D", {{"filters", 3}, {"kernel_size", "three"}}),
              HasSubstr("kernel_size"));
  EXPECT_THAT(refusal("Conv1D", {{"filters", 3}, {"kernel_size", ConfigValue::List{1, 1}}}),
              HasSubstr("kernel_size: expected an integer, or 1 of them"));
  EXPECT_THAT(refusal("Conv1D", {{"filters", 3}, {"kernel_size", 1}, {"padding", "full"}}),
              HasSubstr("valid, same or causal"));
  EXPECT_THAT(refusal("Conv2D", {{"filters", 3}, {"kernel_size", 1}, {"padding", "causal"}}),
              HasSubstr("padding: expected valid or same"));
  EXPECT_THAT(
      refusal("SeparableConv1D", {{"filters", 3}, {"kernel_size", 1}, {"padding", "causal"}}),
      HasSubstr("padding: expected valid or same"));
  EXPECT_THAT(refusal("DepthwiseConv1D", {{"kernel_size", 1}, {"depth_multiplier", 0}}),
              HasSubstr("depth_multiplier"));
  EXPECT_THAT(refusal("MaxPooling1D", {{"pool_size", 2}, {"strides", 0}}), HasSubstr("strides"));
  EXPECT_THAT(refusal("MaxPooling1D", {{"pool_size", 2}, {"padding", "causal"}}),
              HasSubstr("padding"));
  EXPECT_THAT(refusal("ZeroPadding1D", {{"padding", -1}}),
              HasSubstr("padding: expected 0 to 1048576, got -1"));
  EXPECT_THAT(refusal("ZeroPadding2D", {{"padding", ConfigValue::List{1, 2, 3}}}),
              HasSubstr("padding"));
  EXPECT_THAT(refusal("Cropping1D", {{"cropping", Index{1} << 40}}), HasSubstr("cropping"));
  EXPECT_THAT(refusal("UpSampling1D", {{"size", 0}}), HasSubstr("size: expected 1"));
  EXPECT_THAT(refusal("UpSampling2D", {{"interpolation", "bilinear"}}),
              HasSubstr("interpolation: expected nearest, got bilinear"));
  EXPECT_THAT(refusal("GroupNormalization", {{"groups", 0}}), HasSubstr("groups"));
  EXPECT_THAT(refusal("UnitNormalization", {{"axis", ConfigValue::List{}}}), HasSubstr("axis"));
  EXPECT_THAT(refusal("BatchNormalization",
                      {{"renorm_clipping", ConfigValue::Object{{"rmax", 1}, {"rmin", 2}}}}),
              HasSubstr("renorm_clipping"));
  EXPECT_THAT(
      refusal("BatchNormalization", {{"renorm_clipping", ConfigValue::Object{{"tmax", 1}}}}),
      HasSubstr("rmax, rmin, dmax, got tmax"));
}

TEST(Windows, InputsThatAreRefused) {
  const auto refused = [](Layer& layer, const Shape& shape) {
    return error_of<ShapeError>([&] { layer.build({shape}); });
  };
  Conv1D conv({.filters = 4, .kernel_size = 3, .dilation_rate = 2, .groups = 2});
  EXPECT_THAT(refused(conv, {1, 4, 2}), HasSubstr("expected 5 or more on axis 1, got [1, 4, 2]"));
  EXPECT_THAT(refused(conv, {1, 4, 2, 2}), HasSubstr("expected rank 3"));
  EXPECT_THAT(refused(conv, {1, 5, 3}), HasSubstr("channels that 2 groups divide"));
  EXPECT_THAT(refused(conv, Shape::partial({1, 5, -1})), HasSubstr("channels"));
  EXPECT_THAT(refused(conv, Shape::partial({-1, Index{1} << 50, 2})), HasSubstr("2^40"));
  conv.build({Shape{1, 5, 2}});
  EXPECT_THAT(error_of<ShapeError>([&] { shapes(conv, {1, 5, 4}); }), HasSubstr("2 channels"));
  Cropping1D cropping({.cropping = {2, 1}});
  EXPECT_THAT(refused(cropping, {1, 3, 2}), HasSubstr("more than 3 on axis 1"));
  MaxPooling1D pooling({.pool_size = 5});
  EXPECT_THAT(refused(pooling, {1, 4, 2}), HasSubstr("5 or more on axis 1"));
  GroupNormalization groups({.groups = 3});
  EXPECT_THAT(refused(groups, {1, 4, 2}), HasSubstr("channels that 3 groups divide"));
  GroupNormalization of_batch({.groups = 1, .axis = 0});
  EXPECT_THAT(refused(of_batch, {1, 4, 2}), HasSubstr("axis"));
  UnitNormalization unit({.axis = {1, -2}});
  Context ctx;
  const Value x{random_tensor({2, 3, 4}, 1), {}};
  EXPECT_THAT(error_of<ShapeError>([&] { unit.forward(ctx, std::span(&x, 1), {}, nullptr); }),
              HasSubstr("each axis once"));
  BatchNormalization batch;
  batch.build({Shape{2, 3, 4}});
  const Value masked{x.tensor, Tensor::zeros({2}, Dtype::boolean)};
  EXPECT_THAT(error_of<ShapeError>([&] { batch.forward(ctx, std::span(&masked, 1), {}, nullptr); }),
              HasSubstr("mask: expected rank 2, got [2]"));
}

// ---- Bits
// ----------------------------------------------------------------------------------------

/// Output and gradients of a call with so many threads.
std::vector<Tensor> bits_of(Layer& layer, const Tensor& x, int threads) {
  Context ctx({.num_threads = threads});
  const GradientProblem problem{.layer = layer, .in = {x}, .training = true};
  std::vector<Tensor> all = gradients_of(ctx, problem).values;
  all.push_back(problem.run(ctx, nullptr));
  return all;
}

template <class L>
void expect_same_bits(typename L::Config config, const Shape& shape) {
  L layer(config);
  SCOPED_TRACE(layer.get_config().to_string());
  build(layer, {shape});
  randomize(layer, 5);
  const Tensor x = random_tensor(shape, 1);
  const std::vector<Tensor> one = bits_of(layer, x, 1);
  for (const int threads : {2, 5}) {
    const std::vector<Tensor> many = bits_of(layer, x, threads);
    ASSERT_EQ(one.size(), many.size());
    for (std::size_t i = 0; i < one.size(); ++i) EXPECT_TRUE(same_bits(one[i], many[i])) << i;
  }
}

TEST(Windows, ThreadsChangeNoBit) {
  expect_same_bits<Conv1D>({.filters = 70, .kernel_size = 3, .padding = Padding::same},
                           {3, 500, 60});
  expect_same_bits<Conv1D>({.filters = 24, .kernel_size = 5, .strides = 2, .groups = 3},
                           {3, 500, 24});
  expect_same_bits<Conv1D>({.filters = 48, .kernel_size = 3, .groups = 24}, {3, 900, 24});
  expect_same_bits<Conv2D>({.filters = 32, .kernel_size = {3, 3}}, {2, 60, 50, 48});
  expect_same_bits<SeparableConv1D>({.filters = 40, .kernel_size = 3}, {3, 900, 24});
  expect_same_bits<MaxPooling1D>({.pool_size = 3, .strides = 2}, {3, 900, 100});
  expect_same_bits<AveragePooling2D>({.pool_size = {3, 3}, .strides = {{1, 1}}}, {2, 30, 40, 70});
  expect_same_bits<BatchNormalization>({}, {4, 700, 24});
  expect_same_bits<GroupNormalization>({.groups = 4}, {4, 300, 24});
  expect_same_bits<UnitNormalization>({}, {4, 700, 24});
}

TEST(Windows, ABatchMayBeSplit) {
  Context ctx;
  Conv1D layer({.filters = 70, .kernel_size = 3, .padding = Padding::same});
  build(layer, {{3, 200, 60}});
  const Tensor x = random_tensor({3, 200, 60}, 1);
  const Tensor y = layer(ctx, x);
  for (Index entry = 0; entry < 3; ++entry) {
    const Tensor one = layer(ctx, Tensor::wrap(x.view().slice(0, entry, entry + 1)));
    EXPECT_TRUE(same_bits(one, y.view().slice(0, entry, entry + 1)));
  }
}

TEST(Windows, ANormalizationOfABatchOfNothingIsEmpty) {
  Context ctx;
  BatchNormalization layer;
  layer.build({Shape{2, 3}});
  const Value in{Tensor({0, 3}), {}};
  const auto out = layer.forward(ctx, std::span(&in, 1), {.training = true}, nullptr);
  EXPECT_EQ(out[0].tensor.shape(), (Shape{0, 3}));
}

}  // namespace
}  // namespace grouphead
