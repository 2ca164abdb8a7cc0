// Dense and EinsumDense: configurations, shapes and refusals.

#include "grouphead/dense.h"

#include <gmock/gmock.h>

#include "gradient_support.h"
#include "grouphead/serialization.h"

namespace grouphead {
namespace {

using testing::HasSubstr;
using namespace testing_support;  // NOLINT(google-build-using-namespace)

std::vector<std::string> keys_of(const ConfigValue& config) {
  std::vector<std::string> keys;
  for (const auto& [key, value] : config.as_object("config")) keys.push_back(key);
  return keys;
}

ConfigValue with(ConfigValue config, std::string_view key, ConfigValue value) {
  config.set(key, std::move(value));
  return config;
}

TEST(Dense, ComesBackFromItsConfiguration) {
  Dense layer({.units = 3,
               .activation = "silu",
               .use_bias = false,
               .kernel_initializer = "he_normal",
               .kernel_regularizer = "l2",
               .kernel_constraint = "non_neg",
               .name = "mine",
               .dtype = "mixed_bfloat16"});
  layer.set_trainable(false);
  const ConfigValue config = layer.get_config();
  // The keys of keras.layers.Dense(3).get_config() in Keras 3.15.1.
  EXPECT_THAT(keys_of(config),
              testing::ElementsAre("name", "trainable", "dtype", "units", "activation", "use_bias",
                                   "kernel_initializer", "bias_initializer", "kernel_regularizer",
                                   "bias_regularizer", "kernel_constraint", "bias_constraint",
                                   "quantization_config"));
  const std::shared_ptr<Layer> again = make_layer("Dense", config);
  EXPECT_EQ(again->get_config(), config);
  EXPECT_EQ(config["activation"], ConfigValue("silu"));
  EXPECT_FALSE(again->trainable());
  again->set_trainable(true);
  RandomStream random(1);
  const Shape input = {2, 5};
  again->build(std::span(&input, 1), random);
  ASSERT_EQ(again->parameters().size(), 1U);
  const Parameter& kernel = *again->parameters()[0].parameter;
  EXPECT_EQ(kernel.dtype(), Dtype::f32);
  EXPECT_TRUE(kernel.regularizer());
  EXPECT_TRUE(kernel.constraint());
}

TEST(Dense, TakesOlderFilesAndRefusesWhatItHasNot) {
  const ConfigValue plain = ConfigValue::Object{{"units", 3}};
  EXPECT_EQ(make_layer("Dense", plain)->get_config()["kernel_initializer"]["class_name"],
            ConfigValue("GlorotUniform"));
  EXPECT_EQ(error_of<ConfigError>([&] { make_layer("Dense", with(plain, "lora_rank", 4)); }),
            "[dense] lora_rank: expected null, got 4");
  EXPECT_THAT(error_of<ConfigError>([&] { make_layer("Dense", with(plain, "unit", 4)); }),
              HasSubstr("got unit"));
  EXPECT_THAT(error_of<ConfigError>([&] { make_layer("Dense", with(plain, "activation", "x")); }),
              HasSubstr("[activation] name: expected one of linear"));
  EXPECT_EQ(error_of<ConfigError>([] { make_layer("Dense", ConfigValue::Object{}); }),
            "[dense] units: expected 1 or more, got 0");
}

TEST(Dense, KnowsItsOutputsShape) {
  Dense layer({.units = 3});
  const Shape unknown = Shape::partial({-1, -1, 5});
  EXPECT_EQ(layer.output_shapes(std::span(&unknown, 1), nullptr).at(0),
            Shape::partial({-1, -1, 3}));
  build(layer, {unknown});
  EXPECT_EQ(layer.output_shapes(std::span(&unknown, 1), nullptr).at(0),
            Shape::partial({-1, -1, 3}));
  const Shape other = {2, 6};
  EXPECT_EQ(error_of<ShapeError>([&] { layer.output_shapes(std::span(&other, 1), nullptr); }),
            "[dense] input: expected [..., 5], got [2, 6]");
  const Shape vector = {5};
  EXPECT_THAT(error_of<ShapeError>([&] {
                Dense({.units = 3}).output_shapes({&vector, 1}, nullptr);
              }),
              HasSubstr("rank 2 or more"));
}

}  // namespace
}  // namespace grouphead
