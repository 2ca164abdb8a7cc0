// What the layers around attention promise besides their numbers: configurations, shapes with
// unknown axes, edge cases, error texts, and the same bits for any number of threads.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <tbb/global_control.h>

#include <cmath>

#include "gradient_support.h"
#include "grouphead/layers/layers.h"
#include "grouphead/layers/serialization.h"

namespace grouphead {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using namespace testing_support;  // NOLINT(google-build-using-namespace)

const Shape kUnknown = Shape::partial({-1, -1, 4});

template <class L>
std::vector<Shape> shapes(const L& layer, const std::vector<Shape>& inputs) {
  return layer.output_shapes(inputs, nullptr);
}

TEST(Around, ShapesWithUnknownAxes) {
  EXPECT_THAT(shapes(Add(), {kUnknown, Shape::partial({-1, 7, 1})}),
              ElementsAre(Shape::partial({-1, 7, 4})));
  EXPECT_THAT(shapes(Add(), {kUnknown, Shape::partial({2, 4})}),
              ElementsAre(Shape::partial({2, -1, 4})));
  EXPECT_THAT(shapes(Concatenate({.axis = 1}), {kUnknown, Shape::partial({-1, 3, 4})}),
              ElementsAre(kUnknown));
  EXPECT_THAT(shapes(Concatenate(), {kUnknown, Shape::partial({-1, 3, 2})}),
              ElementsAre(Shape::partial({-1, 3, 6})));
  EXPECT_THAT(shapes(Reshape({.target_shape = Shape::partial({-1, 2})}), {kUnknown}),
              ElementsAre(Shape::partial({-1, -1, 2})));
  EXPECT_THAT(
      shapes(Reshape({.target_shape = Shape::partial({-1, 2})}), {Shape::partial({-1, 3, 4})}),
      ElementsAre(Shape::partial({-1, 6, 2})));
  EXPECT_THAT(shapes(Permute({.dims = {2, 1}}), {kUnknown}),
              ElementsAre(Shape::partial({-1, 4, -1})));
  EXPECT_THAT(shapes(Flatten(), {kUnknown}), ElementsAre(Shape::partial({-1, -1})));
  EXPECT_THAT(shapes(GlobalAveragePooling1D(), {kUnknown}), ElementsAre(Shape::partial({-1, 4})));
  EXPECT_THAT(shapes(GlobalMaxPooling1D({.keepdims = true}), {kUnknown}),
              ElementsAre(Shape::partial({-1, 1, 4})));
  EXPECT_THAT(shapes(Embedding({.input_dim = 5, .output_dim = 3}), {Shape::partial({-1, -1})}),
              ElementsAre(Shape::partial({-1, -1, 3})));
}

TEST(Around, ConfigurationsMakeTheLayerAgain) {
  const std::shared_ptr<Layer> layers[] = {
      std::make_shared<Add>(),
      std::make_shared<Multiply>(MultiplyConfig{.dtype = "mixed_bfloat16"}),
      std::make_shared<Concatenate>(ConcatenateConfig{.axis = 1, .name = "joined"}),
      std::make_shared<Reshape>(ReshapeConfig{.target_shape = Shape::partial({2, -1})}),
      std::make_shared<Permute>(PermuteConfig{.dims = {2, 1}}),
      std::make_shared<Flatten>(FlattenConfig{.data_format = DataFormat::channels_first}),
      std::make_shared<Masking>(MaskingConfig{.mask_value = -1.5}),
      std::make_shared<GlobalAveragePooling1D>(GlobalAveragePooling1DConfig{.keepdims = true}),
      std::make_shared<GlobalMaxPooling1D>(),
      std::make_shared<LayerNormalization>(
          LayerNormalizationConfig{.axis = {1, 2}, .center = false, .beta_regularizer = "l1"}),
      std::make_shared<RMSNormalization>(RMSNormalizationConfig{.epsilon = 0.5}),
      std::make_shared<Embedding>(EmbeddingConfig{.input_dim = 5,
                                                  .output_dim = 3,
                                                  .embeddings_constraint = "non_neg",
                                                  .mask_zero = true,
                                                  .activity_regularizer = "l2"}),
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

TEST(Around, ABuiltNormalisationWritesItsAxesAsAList) {
  LayerNormalization layer({});
  EXPECT_EQ(layer.get_config()["axis"].to_string(), "-1");
  build(layer, {{2, 3}});
  EXPECT_EQ(layer.get_config()["axis"].to_string(), "[-1]");
}

TEST(Around, EmptyBatchesAndTimes) {
  Context ctx;
  for (const Shape& shape : {Shape{0, 3, 4}, Shape{2, 0, 4}, Shape{0, 0, 4}}) {
    const Tensor x(shape);
    LayerNormalization norm({});
    build(norm, {kUnknown});
    RMSNormalization rms;
    build(rms, {kUnknown});
    for (const Layer* layer : std::initializer_list<const Layer*>{&norm, &rms}) {
      std::unique_ptr<Saved> saved;
      const Tensor y = call(ctx, *layer, {x}, {}, &saved);
      EXPECT_EQ(y.shape(), shape);
      Grads grads(ctx, layer->parameters());
      call_backward(ctx, *layer, *saved, y, {x}, grads);
      EXPECT_EQ(testing::max_abs(grads.of(*layer->parameters()[0].parameter)), 0);
    }
    EXPECT_EQ(call(ctx, Add(), {x, x}).shape(), shape);
    EXPECT_EQ(call(ctx, Concatenate(), {x, x}).shape(), (Shape{shape[0], shape[1], 8}));
    EXPECT_EQ(call(ctx, Masking(), {x}).shape(), shape);
    EXPECT_EQ(call(ctx, Flatten(), {x}).shape(), (Shape{shape[0], shape[1] * 4}));
    const Tensor mean = call(ctx, GlobalAveragePooling1D(), {x});
    EXPECT_EQ(mean.shape(), (Shape{shape[0], 4}));
    for (Index i = 0; i < mean.size(); ++i) EXPECT_TRUE(std::isnan(element(mean, i)));
  }
}

TEST(Around, NanStaysWhereItIs) {
  Context ctx;
  Tensor x = random_tensor({2, 3, 4}, 1);
  x.data<float>()[5] = NAN;  // batch 0, step 1
  const Tensor largest = call(ctx, GlobalMaxPooling1D(), {x});
  const Tensor kept = call(ctx, Masking(), {x});
  for (Index i = 0; i < largest.size(); ++i) {
    EXPECT_EQ(std::isnan(element(largest, i)), i == 1) << i;
  }
  EXPECT_TRUE(same_bits(kept, x));
  const bool steps[] = {true, false, true, true, true, true};
  const Value in{x, Tensor::from({2, 3}, std::span<const bool>(steps))};
  const auto mean = GlobalAveragePooling1D().forward(ctx, std::span(&in, 1), {}, nullptr);
  for (Index i = 0; i < 8; ++i) EXPECT_FALSE(std::isnan(element(mean[0].tensor, i)));
}

TEST(Around, IntegersPassThroughUnchanged) {
  Context ctx;
  const Tensor ids = random_tokens({2, 6}, 9, 1);
  const Tensor reshaped = call(ctx, Reshape({.target_shape = {3, 2}}), {ids});
  EXPECT_TRUE(same_bits(reshaped.reshaped({2, 6}), ids));
  EXPECT_EQ(Reshape({.target_shape = {3, 2}}).output_dtype(std::array{Dtype::i32}, nullptr),
            Dtype::i32);
  const Tensor twice = call(ctx, Add(), {ids, ids});
  ASSERT_EQ(twice.dtype(), Dtype::i32);
  EXPECT_EQ(twice.data<std::int32_t>()[3], 2 * ids.data<std::int32_t>()[3]);
}

TEST(Around, RefusesWhatCannotWorkByName) {
  EXPECT_EQ(error_of<ConfigError>([] {
              Permute({.dims = {1, 3}});
            }),
            "[permute] dims: expected each of 1 to 2 once, got [1, 3]");
  EXPECT_EQ(error_of<ConfigError>([] {
              Reshape({.target_shape = Shape::partial({-1, -1})});
            }),
            "[reshape] target_shape: expected at most one -1, got [-1, -1]");
  EXPECT_EQ(error_of<ConfigError>([] { data_format_from_name("x"); }),
            "[data_format] name: expected channels_last or channels_first, got x");
  EXPECT_EQ(error_of<ConfigError>([] { LayerNormalization({.axis = {}}); }),
            "[layer_normalization] axis: expected 1 or more axes, got none");
  EXPECT_EQ(error_of<ConfigError>([] { make_operation("keras.src.ops.numpy", "Fft", {}); }),
            "[make_operation] class_name: expected an operation that this library has, got "
            "keras.src.ops.numpy.Fft");
}

TEST(Embedding, IsTrainedOnTokensInConstMemory) {
  Context ctx;
  Embedding embedding({.input_dim = 3, .output_dim = 2});
  embedding.build({{1, 2}}, /*seed=*/1);
  const std::int32_t tokens[] = {2, 2};
  const Value in{Tensor::wrap(ConstView(tokens, {1, 2})), {}};
  std::unique_ptr<Saved> saved;
  embedding.forward(ctx, std::span(&in, 1), {.training = true}, &saved);
  Grads grads(ctx, embedding.parameters());
  const Tensor d_y = Tensor::from({1, 2, 2}, {1, 2, 3, 4});
  const ConstView d_out = d_y;
  View d_in;
  embedding.backward(ctx, *saved, std::span(&d_out, 1), std::span(&d_in, 1), grads);
  const View gradient = grads.of(*embedding.parameters()[0].parameter);
  const std::vector<float> found(gradient.data<float>(), gradient.data<float>() + 6);
  EXPECT_EQ(found, (std::vector<float>{0, 0, 0, 0, 4, 6}));
}

TEST(Around, RefusesCallsThatDoNotFitByName) {
  Context ctx;
  const Tensor x = random_tensor({2, 3, 4}, 1);
  const auto refusal = [&](const Layer& layer, const std::vector<Tensor>& in) {
    return error_of<ShapeError>([&] { call(ctx, layer, in); });
  };
  EXPECT_EQ(refusal(Add(), {}), "[add] inputs: expected 1 or more, got none");
  EXPECT_EQ(refusal(Add(), {x, random_tensor({1, 3, 4}, 1)}),
            "[add] inputs: expected one batch size, got 2 and 1");
  EXPECT_EQ(refusal(Multiply(), {x, random_tensor({2, 2, 4}, 1)}),
            "[multiply] operands: expected shapes that broadcast, got [3, 4] and [2, 4]");
  EXPECT_EQ(refusal(Concatenate(), {x, random_tensor({2, 1, 4}, 1)}),
            "[concatenate] inputs: expected equal shapes but for axis 2, got [2, 3, 4] and "
            "[2, 1, 4]");
  EXPECT_EQ(refusal(Concatenate({.axis = 3}), {x}),
            "[concatenate] axis: expected one of a tensor of rank 3, got 3");
  EXPECT_EQ(refusal(Reshape({.target_shape = {5}}), {x}),
            "[reshape] input: expected elements that fill [5], got [3, 4]");
  EXPECT_EQ(refusal(Permute({.dims = {1}}), {x}), "[permute] input: expected rank 2, got rank 3");
  EXPECT_EQ(refusal(GlobalAveragePooling1D(), {random_tensor({2, 3}, 1)}),
            "[global_average_pooling1d] input: expected rank 3, got [2, 3]");
  EXPECT_EQ(refusal(GlobalMaxPooling1D(), {Tensor({2, 0, 4})}),
            "[global_max_pooling1d] input: expected 1 step or more, got [2, 0, 4]");
  Embedding embedding({.input_dim = 3, .output_dim = 2});
  build(embedding, {{1}});
  const std::int32_t ids[] = {0, 3};
  EXPECT_EQ(refusal(embedding, {Tensor::from({2}, std::span<const std::int32_t>(ids))}),
            "[embedding] tokens: expected indices below 3, got 3 at 1");
  LayerNormalization norm({.axis = {1}});
  EXPECT_EQ(error_of<ShapeError>([&] { build(norm, {kUnknown}); }),
            "[layer_normalization] input: expected a known size of 1 or more on axis 1, got "
            "[-1, -1, 4]");
  build(norm, {{2, 3, 4}});
  EXPECT_EQ(refusal(norm, {random_tensor({2, 5, 4}, 1)}),
            "[layer_normalization] input: expected 3 elements on the normalised axes, got "
            "[2, 5, 4]");
}

TEST(Around, ThreadsDoNotChangeABit) {
  const tbb::global_control limit(tbb::global_control::max_allowed_parallelism, 8);
  const Tensor x = random_tensor({7, 130, 70}, 1);
  const Tensor row = random_tensor({7, 1, 70}, 2);
  LayerNormalization norm({.axis = {1}});
  build(norm, {x.shape()});
  RMSNormalization rms;
  build(rms, {x.shape()});
  Add add;
  Multiply multiply;
  Permute permute({.dims = {2, 1}});
  GlobalAveragePooling1D mean;
  GlobalMaxPooling1D largest;
  const auto same_for_threads = [&](Layer& layer, const std::vector<Tensor>& in) {
    SCOPED_TRACE(layer.name());
    std::vector<std::vector<Tensor>> found;
    for (const int threads : {1, 2, 5}) {
      Context ctx({.num_threads = threads});
      const GradientProblem problem{.layer = layer, .in = in};
      found.push_back(gradients_of(ctx, problem).values);
      found.back().push_back(problem.run(ctx, nullptr).clone());
    }
    for (std::size_t i = 0; i < found[0].size(); ++i) {
      EXPECT_TRUE(same_bits(found[1][i], found[0][i]));
      EXPECT_TRUE(same_bits(found[2][i], found[0][i]));
    }
  };
  same_for_threads(norm, {x});
  same_for_threads(rms, {x});
  same_for_threads(add, {x, row});
  same_for_threads(multiply, {x, row});
  same_for_threads(permute, {x});
  same_for_threads(mean, {x});
  same_for_threads(largest, {x});
}

}  // namespace
}  // namespace grouphead
