// Dense and EinsumDense: configurations, shapes and refusals.

#include "grouphead/layers/dense.h"

#include <gmock/gmock.h>

#include <map>

#include "gradient_support.h"
#include "grouphead/layers/einsum_dense.h"
#include "grouphead/layers/serialization.h"

namespace grouphead {
namespace {

using ::testing::HasSubstr;
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
              ::testing::ElementsAre("name", "trainable", "dtype", "units", "activation",
                                     "use_bias", "kernel_initializer", "bias_initializer",
                                     "kernel_regularizer", "bias_regularizer", "kernel_constraint",
                                     "bias_constraint", "quantization_config"));
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
  EXPECT_EQ(
      error_of<ConfigError>([&] { make_layer("Dense", with(plain, "quantization_config", 4)); }),
      "[dense] quantization_config: expected null or an object, got 4");
  EXPECT_THAT(error_of<ConfigError>([&] { make_layer("Dense", with(plain, "unit", 4)); }),
              HasSubstr("got unit"));
  EXPECT_THAT(error_of<ConfigError>([&] { make_layer("Dense", with(plain, "activation", "x")); }),
              HasSubstr("[activation] name: expected one of linear"));
  EXPECT_EQ(error_of<ConfigError>([] { make_layer("Dense", ConfigValue::Object{}); }),
            "[dense] units: expected 1 or more, got 0");
}

TEST(Dense, ReplacesTheInputsGradientByWhatItWouldAdd) {
  Context ctx({.num_threads = 2});
  for (const Dtype dtype : {Dtype::f32, Dtype::f64}) {
    for (const Activation activation : {Activation::linear, Activation::gelu}) {
      Dense layer({.units = 130, .activation = activation, .dtype = dtype});
      const Tensor x = random_tensor({3, 5, 70}, 1, dtype);
      build(layer, {x.shape()});
      const Tensor d_y = random_tensor({3, 5, 130}, 2, dtype);
      Tensor added = Tensor::zeros(x.shape(), dtype);
      Tensor replaced = random_tensor(x.shape(), 3, dtype);
      Grads grads[] = {{ctx, layer.parameters()}, {ctx, layer.parameters()}};
      std::unique_ptr<Saved> saved[2];
      for (auto& one : saved) layer(ctx, x, &one);
      const ConstView d_out = d_y;
      View d_in = added;
      layer.backward(ctx, *saved[0], std::span(&d_out, 1), std::span(&d_in, 1), grads[0]);
      layer.backward_to(ctx, *saved[1], d_y, replaced, grads[1]);
      EXPECT_TRUE(testing::compare("d_x", replaced, added, 0).ok());
      for (const auto& each : layer.parameters()) {
        EXPECT_TRUE(testing::compare(each.path, grads[1].of(*each.parameter),
                                     grads[0].of(*each.parameter), 0)
                        .ok());
      }
    }
  }
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

/// einsum(x, kernel) by its definition, ellipses written out: sums over all values of all letters.
Tensor defined_einsum(std::string_view x_letters, std::string_view w_letters,
                      std::string_view y_letters, const Tensor& x, ConstView w, const Shape& y) {
  std::map<char, Index> size;
  for (std::size_t i = 0; i < x_letters.size(); ++i)
    size[x_letters[i]] = x.dim(static_cast<int>(i));
  for (std::size_t i = 0; i < w_letters.size(); ++i)
    size[w_letters[i]] = w.dim(static_cast<int>(i));
  Index total = 1;
  for (const auto& [letter, count] : size) total *= count;
  Tensor sum = Tensor::zeros(y, Dtype::f64);
  for (Index i = 0; i < total; ++i) {
    std::map<char, Index> at;
    Index rest = i;
    for (const auto& [letter, count] : size) {
      at[letter] = rest % count;
      rest /= count;
    }
    const auto offset = [&](std::string_view letters) {
      Index place = 0;
      for (const char letter : letters) place = place * size[letter] + at[letter];
      return place;
    };
    sum.data<double>()[offset(y_letters)] +=
        element(x, offset(x_letters)) * element(w, offset(w_letters));
  }
  return sum;
}

struct EinsumCase {
  const char* equation;
  std::vector<Index> output_shape;
  const char* bias_axes;
  Shape input;
  const char *x, *w, *y;  // without ellipses
  Shape kernel, bias;     // as Keras 3.15.1 makes them
};

const std::vector<EinsumCase> kEinsums = {
    {"abc,cd->abd", {-1, 4}, "d", {2, 3, 5}, "abc", "cd", "abd", {5, 4}, {4}},
    {"abc,cde->abde", {-1, 2, 4}, "de", {2, 3, 5}, "abc", "cde", "abde", {5, 2, 4}, {2, 4}},
    {"abcd,cde->abe", {3, 4}, "e", {2, 3, 5, 2}, "abcd", "cde", "abe", {5, 2, 4}, {4}},
    {"abc,cd->abd", {3, 4}, "b", {2, 3, 5}, "abc", "cd", "abd", {5, 4}, {3, 1}},
    {"abc,dc->adb", {4, -1}, "d", {2, 3, 5}, "abc", "dc", "adb", {4, 5}, {4, 1}},
    {"...x,xy->...y", {4}, "y", {2, 3, 2, 5}, "abcx", "xy", "abcy", {5, 4}, {4}},
    {"ab...,bc->ac...", {4}, "c", {2, 5, 3, 2}, "abde", "bc", "acde", {5, 4}, {4, 1, 1}},
    {"abc,bcd->abd", {3, 4}, "bd", {2, 3, 5}, "abc", "bcd", "abd", {3, 5, 4}, {3, 4}},
    {"abc,cd->ad", {4}, "", {2, 3, 5}, "abc", "cd", "ad", {5, 4}, {}},
    {"abc,d->abcd", {3, 5, 4}, "", {2, 3, 5}, "abc", "d", "abcd", {4}, {}},
};

EinsumDense einsum_layer(const EinsumCase& each, Dtype dtype, Activation activation) {
  return EinsumDense({.equation = each.equation,
                      .output_shape = each.output_shape,
                      .activation = activation,
                      .bias_axes = each.bias_axes,
                      .dtype = dtype});
}

TEST(EinsumDense, IsItsDefinitionPlusABias) {
  for (const Isa isa : isas_under_test()) {
    Context ctx({.num_threads = 2, .isa = isa});
    for (const EinsumCase& each : kEinsums) {
      SCOPED_TRACE(each.equation);
      EinsumDense layer = einsum_layer(each, Dtype::f32, Activation::linear);
      build(layer, {each.input});
      randomize(layer, 4);
      const auto parameters = layer.parameters();
      EXPECT_EQ(parameters.at(0).parameter->shape(), each.kernel);
      const Tensor x = random_tensor(each.input, 1);
      const Tensor y = call(ctx, layer, {x});
      EXPECT_EQ(layer.output_shapes(std::span(&each.input, 1), nullptr).at(0), y.shape());
      Tensor want =
          defined_einsum(each.x, each.w, each.y, x, parameters[0].parameter->value(), y.shape());
      if (each.bias.rank() > 0) {
        const Parameter& bias = *parameters.at(1).parameter;
        EXPECT_EQ(bias.shape(), each.bias);
        // The bias lies along the output's last axes: walk both together.
        for (Index i = 0; i < want.size(); ++i) {
          Index rest = i;
          Index place = 0;
          Index step = 1;
          for (int axis = 1; axis <= each.bias.rank(); ++axis) {
            const Index size = each.bias[each.bias.rank() - axis];
            const Index at = rest % y.dim(y.rank() - axis);
            rest /= y.dim(y.rank() - axis);
            place += (size == 1 ? 0 : at) * step;
            step *= size;
          }
          want.data<double>()[i] += element(bias.value(), place);
        }
      }
      // 15 products below 1 and a bias.
      CHECK_CLOSE(y, want, 16 * 16 * 0x1p-24, each.equation);
    }
  }
}

TEST(EinsumDense, FollowsCentralDifferences) {
  Context ctx({.num_threads = 1});
  for (const EinsumCase& each : kEinsums) {
    SCOPED_TRACE(each.equation);
    EinsumDense layer = einsum_layer(each, Dtype::f64, Activation::tanh);
    build(layer, {each.input});
    randomize(layer, 4);
    check_gradients(ctx, {.layer = layer, .in = {random_tensor(each.input, 1, Dtype::f64)}});
  }
}

TEST(EinsumDense, StartsWithTheFansOfItsEquation) {
  EinsumDense layer({.equation = "abc,cde->abde", .output_shape = {-1, 30, 40}, .bias_axes = "e"});
  build(layer, {Shape::partial({-1, -1, 200})});
  const double limit = std::sqrt(6.0 / (200 + 30 * 40));
  const double largest = testing::max_abs(layer.parameters()[0].parameter->value());
  EXPECT_LE(largest, limit * (1 + 0x1p-24));  // rounded to f32
  EXPECT_GT(largest, 0.999 * limit);
}

TEST(EinsumDense, ComesBackFromItsConfiguration) {
  EinsumDense layer({.equation = "abc,cd->abd", .output_shape = {-1, 4}, .activation = "relu"});
  const ConfigValue config = layer.get_config();
  // The keys of keras.layers.EinsumDense(...).get_config() in Keras 3.15.1.
  EXPECT_THAT(
      keys_of(config),
      ::testing::ElementsAre("name", "trainable", "dtype", "output_shape", "equation", "activation",
                             "bias_axes", "kernel_initializer", "bias_initializer",
                             "kernel_regularizer", "bias_regularizer", "activity_regularizer",
                             "kernel_constraint", "bias_constraint", "quantization_config"));
  EXPECT_EQ(config["output_shape"], ConfigValue(ConfigValue::List{nullptr, 4}));
  EXPECT_TRUE(config["bias_axes"].is_null());
  EXPECT_EQ(make_layer("EinsumDense", config)->get_config(), config);
}

TEST(EinsumDense, RefusesWhatKerasRefuses) {
  const auto made = [](const char* equation, std::vector<Index> output, const Shape& input,
                       const char* bias = "") {
    return error_of<Error>([&] {
      EinsumDense layer({.equation = equation, .output_shape = output, .bias_axes = bias});
      layer.output_shapes(std::span(&input, 1), nullptr);
    });
  };
  const char* forms = "expected X,Y->Z, ...X,Y->...Z or X...,Y->Z...";
  EXPECT_THAT(made("a b c,cd->abd", {-1, 4}, {2, 3, 5}), HasSubstr(forms));
  EXPECT_THAT(made("abc,cd", {-1, 4}, {2, 3, 5}), HasSubstr(forms));
  EXPECT_THAT(made("...bc,cd->bd...", {-1, 4}, {2, 3, 5}), HasSubstr(forms));
  EXPECT_THAT(made("abc,cde->abd", {-1, 4}, {2, 3, 5}), HasSubstr("kernel letters"));
  EXPECT_THAT(made("abc,cd->abx", {-1, 4}, {2, 3, 5}), HasSubstr("output letters"));
  EXPECT_THAT(made("abc,cd->abd", {7, 4}, {2, 3, 5}), HasSubstr("expected 7 on axis b"));
  EXPECT_THAT(made("abc,cd->abd", {4}, {2, 3, 5}), HasSubstr("expected 2 axes, got 1"));
  EXPECT_THAT(made("abc,cd->abd", {-1, -1}, {2, 3, 5}),
              HasSubstr("known size of 1 or more for axis d"));
  EXPECT_THAT(made("abc,cd->abd", {-1, 4}, {2, 3, 5, 6}), HasSubstr("the axes of abc"));
  EXPECT_THAT(made("abc,cd->abd", {-1, 4}, {2, 3, 5}, "x"), HasSubstr("letters of abd"));
}

}  // namespace
}  // namespace grouphead
