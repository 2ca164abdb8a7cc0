// Activations, merges and noise: what is refused, what configurations say, threads.

#include <gmock/gmock.h>

#include "gradient_support.h"
#include "grouphead/layers/activation.h"
#include "grouphead/layers/dense.h"
#include "grouphead/layers/dropout.h"
#include "grouphead/layers/identity.h"
#include "grouphead/layers/merging.h"
#include "grouphead/layers/serialization.h"

namespace grouphead {
namespace {

using namespace testing_support;  // NOLINT(google-build-using-namespace)
using ::testing::HasSubstr;

ConfigValue layer_envelope(const char* class_name, ConfigValue::Object config) {
  return config_envelope("keras.layers", class_name, ConfigValue(std::move(config)));
}

TEST(Activation, NumbersAreThoseOfTheFunction) {
  const Activation half = Activation("elu").with("alpha", 0.5);
  EXPECT_EQ(half.numbers()[0], 0.5);
  EXPECT_EQ(Activation("leaky_relu").numbers()[0], 0.2);
  EXPECT_THAT(error_of<ConfigError>([&] { static_cast<void>(half.with("slope", 1)); }),
              HasSubstr("[elu] option: expected alpha, got slope"));
  EXPECT_THAT(error_of<ConfigError>([&] { static_cast<void>(half.config()); }),
              HasSubstr("[activation] config"));
  EXPECT_EQ(Activation("hard_swish").config(), ConfigValue("hard_silu"));
}

TEST(Activation, MayBeALayerWithoutWeights) {
  const ConfigValue leaky = layer_envelope("LeakyReLU", {{"name", "a"}, {"negative_slope", 0.1}});
  const Activation activation = Activation::from_config(leaky);
  EXPECT_EQ(activation, Activation::leaky_relu);
  EXPECT_EQ(activation.numbers()[0], 0.1);
  EXPECT_EQ(activation.config(), leaky);
  const auto dense = make_layer("Dense", ConfigValue::Object{{"units", 3}, {"activation", leaky}});
  EXPECT_EQ(dense->get_config()["activation"], leaky);
  for (const ConfigValue& wrong :
       {layer_envelope("PReLU", {}), layer_envelope("Softmax", {{"axis", 1}}),
        layer_envelope("Nothing", {}), ConfigValue(3), ConfigValue("glu"),
        layer_envelope("ReLU", {{"slope", 1}})}) {
    EXPECT_THROW(Activation::from_config(wrong), ConfigError) << wrong.to_string();
  }
}

TEST(SmallLayers, RefuseNumbersOutOfRange) {
  EXPECT_THAT(error_of<ConfigError>([] { ReLU({.max_value = -1}); }),
              HasSubstr("[relu] max_value: expected a number of 0 or more, got -1"));
  EXPECT_THROW(ReLU({.threshold = -0.5}), ConfigError);
  EXPECT_THROW(LeakyReLU({.negative_slope = -0.5}), ConfigError);
  EXPECT_THROW(ELU({.alpha = std::numeric_limits<double>::infinity()}), ConfigError);
  EXPECT_THROW(RepeatVector({.n = 0}), ConfigError);
  EXPECT_THROW(GaussianNoise({.stddev = 1.5}), ConfigError);
  EXPECT_THROW(AlphaDropout({.rate = -0.5}), ConfigError);
  EXPECT_THROW(make_layer("Dropout", ConfigValue::Object{{"rate", 0.5},
                                                         {"noise_shape", ConfigValue::List{0}}}),
               ConfigError);
  EXPECT_THROW(
      make_layer("SpatialDropout2D", ConfigValue::Object{{"rate", 0.5}, {"data_format", "rows"}}),
      ConfigError);
  EXPECT_THROW(make_layer("Maximum", ConfigValue::Object{{"axis", 1}}), ConfigError);
}

TEST(SmallLayers, RefuseShapes) {
  Context ctx;
  const auto error = [&](Layer& layer, std::initializer_list<Shape> shapes) {
    return error_of<ShapeError>([&] { layer.build(shapes); });
  };
  Subtract subtract;
  EXPECT_THAT(error(subtract, {{2, 3}, {2, 3}, {2, 3}}), HasSubstr("[subtract]"));
  EXPECT_THAT(error(subtract, {{2, 3}, {2, 4}}), HasSubstr("[subtract]"));
  SpatialDropout1D spatial({.rate = 0.5});
  EXPECT_THAT(error(spatial, {{2, 3}}), HasSubstr("[spatial_dropout1d] input: expected rank 3"));
  RepeatVector repeat({.n = 2});
  EXPECT_THAT(error(repeat, {{2, 3, 4}}), HasSubstr("[repeat_vector] input: expected [B, M]"));
  PReLU prelu({.shared_axes = {3}});
  EXPECT_THAT(error(prelu, {{2, 3, 4}}),
              HasSubstr("[prelu] shared_axes: expected axes from 1 to 2"));
  PReLU unknown;
  EXPECT_THAT(error_of<ShapeError>([&] {
                RandomStream random(1);
                const Shape shape = Shape::partial(std::array<Index, 3>{2, -1, 4});
                unknown.build(std::span(&shape, 1), random);
              }),
              HasSubstr("[prelu] input: expected known sizes"));
}

TEST(SmallLayers, UnknownSizesStay) {
  const Shape unknown = Shape::partial(std::array<Index, 2>{-1, 4});
  EXPECT_EQ(RepeatVector({.n = 3}).output_shapes(std::span(&unknown, 1), nullptr)[0],
            Shape::partial(std::array<Index, 3>{-1, 3, 4}));
  const Shape both[] = {unknown, Shape::partial(std::array<Index, 2>{2, 1})};
  EXPECT_EQ(Maximum().output_shapes(both, nullptr)[0], Shape({2, 4}));
}

// The same bits for any number of threads, of more elements than one block has.
TEST(SmallLayers, ThreadsDoNotChangeBits) {
  const Tensor a = random_tensor({3, 20000}, 1);
  const Tensor b = random_tensor({3, 20000}, 2);
  std::vector<Tensor> first;
  for (const int threads : {1, 2, 5}) {
    Context ctx({.num_threads = threads});
    PReLU prelu;
    prelu.build({a.shape()}, 3);
    std::vector<Tensor> results = {Maximum()(ctx, {a, b}).clone(), Average()(ctx, {a, b}).clone(),
                                   call(ctx, prelu, {a}, {}).clone()};
    GaussianDropout noise({.rate = 0.3, .seed = 5});
    results.push_back(call(ctx, noise, {a}, {.training = true}).clone());
    ActivationLayer sparse({.activation = "sparsemax"});
    results.push_back(call(ctx, sparse, {a}, {}).clone());
    if (first.empty()) first = results;
    for (std::size_t i = 0; i < results.size(); ++i) {
      EXPECT_TRUE(same_bits(results[i], first[i])) << threads << " " << i;
    }
  }
}

TEST(Noise, ComesFromTheModelsStreamWhereThereIsOne) {
  Context ctx;
  const Tensor x = random_tensor({4, 50}, 1);
  GaussianNoise noise({.stddev = 0.5});
  EXPECT_THAT(error_of<ConfigError>([&] { call(ctx, noise, {x}, {.training = true}); }),
              HasSubstr("[gaussian_noise] mode.random"));
  RandomStream one(7);
  RandomStream other(7);
  const Tensor y = call(ctx, noise, {x}, {.training = true, .random = &one}).clone();
  EXPECT_TRUE(same_bits(call(ctx, noise, {x}, {.training = true, .random = &other}), y));
  EXPECT_FALSE(same_bits(call(ctx, noise, {x}, {.training = true, .random = &other}), y));
  EXPECT_TRUE(same_bits(call(ctx, noise, {x}, {}), x));
}

}  // namespace
}  // namespace grouphead
