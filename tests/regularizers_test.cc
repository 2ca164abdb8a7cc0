// Regularizers; Keras's own numbers are in keras_golden_test.

#include "grouphead/layers/regularizers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "gradient_support.h"

namespace grouphead {
namespace {

using namespace testing_support;
using ::testing::HasSubstr;

ConfigValue envelope(const char* class_name, ConfigValue::Object config) {
  return config_envelope(RegularizerRule::kModule, class_name, config);
}

// On x = (3, -4), (0, 0.5), by hand: sum |x| = 7.5, sum x^2 = 25.25; the rows' cosine is -0.8, the
// columns' is -4 / sqrt(16.25).
TEST(Regularizers, HaveTheValuesOfTheirFormulas) {
  Context ctx;
  for (const Dtype dtype : {Dtype::f32, Dtype::f64}) {
    const Tensor x = converted(Tensor::from({2, 2}, {3, -4, 0, 0.5F}), dtype);
    const auto value = [&](const Regularizer& rule) { return rule->value(ctx, x); };
    EXPECT_NEAR(value(regularizers::l1(0.5)), 3.75, 1e-12);
    EXPECT_NEAR(value(regularizers::l2(0.5)), 12.625, 1e-12);
    EXPECT_NEAR(value(regularizers::l1_l2(2, 4)), 116, 1e-12);
    EXPECT_NEAR(value(regularizers::orthogonal(0.5)), 0.4, 1e-6);
    EXPECT_NEAR(value(regularizers::orthogonal(0.5, "columns")), 2 / std::sqrt(16.25), 1e-6);
    EXPECT_EQ(value("l1l2"), 0);
  }
}

TEST(Regularizers, HaveTheGradientsOfTheirValues) {
  Context ctx;
  for (const Regularizer& rule :
       {regularizers::l1(0.3), regularizers::l2(0.7), regularizers::l1_l2(0.2, 0.4),
        regularizers::orthogonal(0.6), regularizers::orthogonal(0.6, "columns")}) {
    Tensor x = random_tensor({5, 4}, 3, Dtype::f64);
    Tensor d_x = Tensor::zeros({5, 4}, Dtype::f64);
    rule->add_gradient(ctx, x, 2.5, d_x);
    rule->add_gradient(ctx, x, 0.5, d_x);  // added
    for (Index i = 0; i < x.size(); ++i) {
      const auto sum = [&] {
        const double value = 3 * rule->value(ctx, x);
        return WeightedSum{value, value};
      };
      const Difference d = central_difference(x.data<double>()[i], sum);
      EXPECT_NEAR(element(d_x, i), d.value, d.bound) << rule->class_name() << " " << i;
    }
  }
}

// Source: jax.grad of keras.regularizers.L1(1) at (0, -0, NaN, 2).
TEST(Regularizers, TakeOneForTheDerivativeOfTheMagnitudeAtZero) {
  Context ctx;
  const Tensor x = Tensor::from({4}, {0, -0.0F, std::nanf(""), 2});
  Tensor d_x = Tensor::zeros({4});
  regularizers::l1(1)->add_gradient(ctx, x, 1, d_x);
  EXPECT_EQ(d_x.data<float>()[0], 1);
  EXPECT_EQ(d_x.data<float>()[1], 1);
  EXPECT_EQ(d_x.data<float>()[2], -1);
  EXPECT_EQ(d_x.data<float>()[3], 1);
}

TEST(Regularizers, AreFiniteForVectorsOfZerosAndForOneVector) {
  Context ctx;
  const Regularizer rule = regularizers::orthogonal(1);
  const Tensor zeros = Tensor::zeros({3, 4});
  Tensor d_x = Tensor::zeros({3, 4});
  EXPECT_EQ(rule->value(ctx, zeros), 0);
  rule->add_gradient(ctx, zeros, 1, d_x);
  EXPECT_TRUE(same_bits(d_x, zeros));
  const Tensor one = random_tensor({1, 4}, 1);
  Tensor d_one = Tensor::zeros({1, 4});
  EXPECT_EQ(rule->value(ctx, one), 0);
  rule->add_gradient(ctx, one, 1, d_one);
  EXPECT_TRUE(same_bits(d_one, Tensor::zeros({1, 4})));
  EXPECT_EQ(rule->value(ctx, Tensor::zeros({0, 4})), 0);
  EXPECT_EQ(regularizers::l1_l2(1, 1)->value(ctx, Tensor::zeros({0, 4})), 0);
}

TEST(Regularizers, GiveTheSameBitsForAnyNumberOfThreads) {
  const Tensor x = random_tensor({150, 300}, 1);
  for (const Regularizer& rule : {regularizers::l1_l2(0.1, 0.2), regularizers::orthogonal()}) {
    std::vector<double> values;
    std::vector<Tensor> gradients;
    for (const int threads : {1, 2, 4}) {
      Context ctx({.num_threads = threads});
      values.push_back(rule->value(ctx, x));
      gradients.push_back(Tensor::zeros(x.shape()));
      rule->add_gradient(ctx, x, 1, gradients.back());
      EXPECT_EQ(values.back(), values[0]);
      EXPECT_TRUE(same_bits(gradients.back(), gradients[0]));
    }
  }
}

TEST(Regularizers, KnowKerassNamesAndConfigurations) {
  // Source: keras.regularizers.get(name).get_config().
  EXPECT_EQ(Regularizer("l1")->get_config(),
            ConfigValue(ConfigValue::Object{{"l1", 0.009999999776482582}}));
  EXPECT_EQ(Regularizer("L2")->get_config(), ConfigValue(ConfigValue::Object{{"l2", 0.01}}));
  EXPECT_EQ(Regularizer("l1l2")->get_config(),
            ConfigValue(ConfigValue::Object{{"l1", 0.0}, {"l2", 0.0}}));
  EXPECT_EQ(Regularizer("orthogonal_regularizer")->get_config(),
            ConfigValue(ConfigValue::Object{{"factor", 0.009999999776482582}, {"mode", "rows"}}));
  EXPECT_FALSE(Regularizer(nullptr));
  const ConfigValue config = envelope("L1L2", {{"l1", 0.25}, {"l2", 1}});
  EXPECT_EQ(Regularizer(config).config(), envelope("L1L2", {{"l1", 0.25}, {"l2", 1.0}}));
  EXPECT_EQ(Regularizer(envelope("L1", {{"l1", nullptr}}))->get_config(),
            Regularizer("l1")->get_config());
}

TEST(Regularizers, RefuseWhatKerasRefuses) {
  const auto refusal = [](const ConfigValue& identifier) {
    return error_of<ConfigError>([&] { Regularizer rule(identifier); });
  };
  EXPECT_EQ(refusal("l1_l2"),
            "[regularizer] identifier: expected a name that Keras knows, got l1_l2");
  EXPECT_THAT(refusal("no_such_regularizer"), HasSubstr("got no_such_regularizer"));
  EXPECT_EQ(refusal(envelope("L2", {{"l2", -1}})),
            "[L2] l2: expected a finite number, 0 or more, got -1");
  for (const double bad : {std::nan(""), std::numeric_limits<double>::infinity(), -0.5}) {
    EXPECT_THROW(regularizers::l1(bad), ConfigError);
    EXPECT_THROW(regularizers::l1_l2(0, bad), ConfigError);
    EXPECT_THROW(regularizers::orthogonal(bad), ConfigError);
  }
  EXPECT_THAT(refusal(envelope("L2", {{"l1", 1}})), HasSubstr("got l1"));
  EXPECT_THAT(refusal(envelope("OrthogonalRegularizer", {{"mode", "diagonal"}})),
              HasSubstr("mode: expected rows or columns, got diagonal"));
  EXPECT_THROW(Regularizer(envelope("OrthogonalRegularizer", {{"factor", nullptr}})), ConfigError);
  Context ctx;
  EXPECT_THAT(error_of<ShapeError>([&] {
                regularizers::orthogonal()->value(ctx, Tensor::zeros({2, 3, 4}));
              }),
              HasSubstr("[orthogonal_regularizer] x: expected [*, *], got [2, 3, 4]"));
}

}  // namespace
}  // namespace grouphead
