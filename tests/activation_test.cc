// The activation functions, forward and backward, against the same formulas in double.

#include "ops/activation.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <limits>

#include "elementwise_fixture.h"
#include "gradient_support.h"
#include "grouphead/layers/activation.h"
#include "grouphead/layers/serialization.h"
#include "grouphead/layers/softmax.h"

namespace grouphead {
namespace {

using ::testing::HasSubstr;
using namespace testing_support;  // NOLINT(google-build-using-namespace)

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }
double gelu_argument(double x) {
  return 2 * std::sqrt(2 / std::acos(-1.0)) * (x + 0.044715 * x * x * x);
}
double gelu_argument_slope(double x) {
  return 2 * std::sqrt(2 / std::acos(-1.0)) * (1 + 3 * 0.044715 * x * x);
}

// Klambauer et al. 2017, arXiv:1706.02515.
constexpr double kSelu = 1.0507009873554804934193349852946;
constexpr double kSeluAlpha = 1.6732632423543772848170429916717;

// A function, its derivative, and how many units of 2^-24 either may be off.
struct Known {
  Activation activation;
  double (*value)(double);
  double (*value_bound)(double);
  double (*slope)(double);
  double (*slope_bound)(double);
};

// Counted in roundings of 2^-24, an exponential or a tanh of the math library as two.
const Known kKnown[] = {
    {Activation::relu, [](double x) { return std::max(x, 0.0); }, [](double) { return 0.0; },
     [](double x) { return x > 0 ? 1.0 : 0.0; }, [](double) { return 0.0; }},
    // Exponential, sum, quotient: relative, so both tails count.
    {Activation::sigmoid, sigmoid, [](double x) { return 4 * sigmoid(x); },
     [](double x) { return sigmoid(x) * sigmoid(-x); },
     [](double x) { return 10 * sigmoid(x) * sigmoid(-x); }},
    {Activation::silu, [](double x) { return x * sigmoid(x); },
     [](double x) { return 4 * std::abs(x) * sigmoid(x); },
     [](double x) { return sigmoid(x) * (1 + x * sigmoid(-x)); },
     // The two terms may cancel: their roundings stay.
     [](double x) { return 12 * sigmoid(x) * (1 + std::abs(x) * sigmoid(-x)); }},
    {Activation::tanh, [](double x) { return std::tanh(x); },
     [](double x) { return 4 * std::abs(std::tanh(x)); },
     [](double x) { return 1 - std::tanh(x) * std::tanh(x); },
     // 1 - t loses what t was rounded by, at most 4 + 1, times 1 + t <= 2; then the products.
     [](double) { return 13.0; }},
    {Activation::elu, [](double x) { return x < 0 ? std::expm1(x) : x; },
     [](double x) { return x < 0 ? -2 * std::expm1(x) : 0; },
     [](double x) { return x < 0 ? std::exp(x) : 1; },
     [](double x) { return x < 0 ? 2 * std::exp(x) : 0; }},
    {Activation::selu, [](double x) { return kSelu * (x < 0 ? kSeluAlpha * std::expm1(x) : x); },
     // Two constants and their product, the function, the product.
     [](double x) { return 6 * kSelu * (x < 0 ? -kSeluAlpha * std::expm1(x) : x); },
     [](double x) { return kSelu * (x < 0 ? kSeluAlpha * std::exp(x) : 1); },
     [](double x) { return 6 * kSelu * (x < 0 ? kSeluAlpha * std::exp(x) : 1); }},
    {Activation::leaky_relu, [](double x) { return x < 0 ? 0.2 * x : x; },
     [](double x) { return x < 0 ? -0.4 * x : 0; }, [](double x) { return x < 0 ? 0.2 : 1; },
     [](double x) { return x < 0 ? 0.4 : 0; }},
    // The exponential's roundings reach its logarithm at most whole; then that and the sum.
    {Activation::softplus,
     [](double x) { return std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x))); },
     [](double x) { return 5 * std::log1p(std::exp(-std::abs(x))) + std::max(x, 0.0); }, sigmoid,
     [](double x) { return 5 * sigmoid(x); }},
    {Activation::exponential, [](double x) { return std::exp(x); },
     [](double x) { return 2 * std::exp(x); }, [](double x) { return std::exp(x); },
     [](double x) { return 3 * std::exp(x); }},
    // The argument has seven roundings, so its exponential is off by 7 |u| more.
    {Activation::gelu_tanh, [](double x) { return x * sigmoid(gelu_argument(x)); },
     [](double x) {
       const double u = gelu_argument(x);
       return (7 * std::abs(u) + 5) * std::abs(x) * sigmoid(u);
     },
     [](double x) {
       const double u = gelu_argument(x);
       return sigmoid(u) + x * sigmoid(u) * sigmoid(-u) * gelu_argument_slope(x);
     },
     [](double x) {
       const double u = gelu_argument(x);
       return (7 * std::abs(u) + 20) *
              (sigmoid(u) + std::abs(x) * sigmoid(u) * sigmoid(-u) * gelu_argument_slope(x));
     }},
};

// Every third argument near zero, the others out to where the tails vanish.
void fill_arguments(Operand& x) {
  for (Index i = 0; i < x.size(); ++i) {
    x.set(i, uniform_at(3, i, -1, 1) * (i % 3 == 1 ? 0.01 : (i % 3 == 0 ? 4 : 80)));
  }
}

TEST(Activation, EachFunctionIsWithinItsRoundings) {
  for_each_level([](Context& ctx, const std::string& isa) {
    for (const Known& known : kKnown) {
      for (const Index n : {1, 15, 16, 17, 33, 1000, 40000}) {
        const std::string problem =
            std::string(known.activation.name()) + " n" + std::to_string(n) + " isa=" + isa;
        Operand x({n});
        fill_arguments(x);
        Operand d_y({n}, 8);
        Guarded y({n});
        Guarded d_x({n});
        ops::activation_forward(ctx, known.activation, x.f32.view(), y.view());
        ops::activation_backward(ctx, known.activation, x.f32.view(), d_y.f32.view(), d_x.view());
        // An exponential overflows at 2^128: what is smaller than its inverse may become 0.
        const auto table = [&](auto&& of) { return tabulate({n}, of); };
        const auto tiny = [&](Index i) { return (1 + std::abs(x[i])) * 0x1p-128; };
        CHECK_CLOSE(y.view(), table([&](Index i) { return known.value(x[i]); }),
                    table([&](Index i) { return kUnit * known.value_bound(x[i]) + tiny(i); }),
                    problem);
        CHECK_CLOSE(d_x.view(), table([&](Index i) { return d_y[i] * known.slope(x[i]); }),
                    table([&](Index i) {
                      return std::abs(d_y[i]) * kUnit * (known.slope_bound(x[i]) + 1) + tiny(i);
                    }),
                    problem);
        // Over an operand.
        ops::activation_backward(ctx, known.activation, x.f32.view(), d_y.f32.view(),
                                 d_y.f32.view());
        ops::activation_forward(ctx, known.activation, x.f32.view(), x.f32.view());
        for (Index i = 0; i < n; ++i) {
          ASSERT_EQ(x.f32[i], y[i]) << problem;
          ASSERT_EQ(d_y.f32[i], d_x[i]) << problem;
        }
      }
    }
  });
}

TEST(Activation, KeepsItsLimitsAndNaN) {
  for_each_level([](Context& ctx, const std::string& isa) {
    const float nan = std::numeric_limits<float>::quiet_NaN();
    const Tensor x = Tensor::from({5}, {-1e30F, -1000.0F, 1000.0F, 1e30F, nan});
    const Tensor ones = Tensor::from({5}, {1, 1, 1, 1, 1});
    const auto expect = [&](Activation activation, std::vector<float> values,
                            std::vector<float> slopes) {
      Tensor y({5});
      Tensor d_x({5});
      ops::activation_forward(ctx, activation, x, y);
      ops::activation_backward(ctx, activation, x, ones, d_x);
      for (std::size_t i = 0; i < 4; ++i) {
        EXPECT_EQ(y.data<float>()[i], values[i]) << activation.name() << " " << i << " " << isa;
        EXPECT_EQ(d_x.data<float>()[i], slopes[i]) << activation.name() << " " << i << " " << isa;
      }
      EXPECT_TRUE(std::isnan(y.data<float>()[4])) << activation.name() << " " << isa;
    };
    expect(Activation::linear, {-1e30F, -1000, 1000, 1e30F}, {1, 1, 1, 1});
    expect(Activation::relu, {0, 0, 1000, 1e30F}, {0, 0, 1, 1});
    expect(Activation::sigmoid, {0, 0, 1, 1}, {0, 0, 0, 0});
    expect(Activation::tanh, {-1, -1, 1, 1}, {0, 0, 0, 0});
    expect(Activation::silu, {0, 0, 1000, 1e30F}, {0, 0, 1, 1});
    expect(Activation::gelu_tanh, {0, 0, 1000, 1e30F}, {0, 0, 1, 1});
    expect(Activation::elu, {-1, -1, 1000, 1e30F}, {0, 0, 1, 1});
    expect(Activation::gelu, {0, 0, 1000, 1e30F}, {0, 0, 1, 1});
  });
}

TEST(Softmax, RowsAddUpToOneWhateverTheirOffset) {
  for_each_level([](Context& ctx, const std::string& isa) {
    for (const Index width : kAwkward) {
      const Index rows = 7;
      Operand x({rows, width}, 5, -20, 20);
      Operand d_y({rows, width}, 6);
      Guarded y({rows, width});
      Guarded d_x({rows, width});
      ops::softmax_forward(ctx, x.f32.view(), y.view());
      ops::activation_backward(ctx, Activation::softmax, x.f32.view(), d_y.f32.view(), d_x.view());
      Tensor want({rows, width}, Dtype::f64);
      Tensor d_want({rows, width}, Dtype::f64);
      double largest = 0;
      for (Index r = 0; r < rows; ++r) {
        double sum = 0;
        double dot = 0;
        for (Index j = 0; j < width; ++j) sum += std::exp(x[r * width + j]);
        for (Index j = 0; j < width; ++j) {
          const Index i = r * width + j;
          want.data<double>()[i] = std::exp(x[i]) / sum;
          dot += want.data<double>()[i] * d_y[i];
        }
        for (Index j = 0; j < width; ++j) {
          const Index i = r * width + j;
          d_want.data<double>()[i] = want.data<double>()[i] * (d_y[i] - dot);
          largest = std::max(largest, std::abs(d_want.data<double>()[i]));
        }
      }
      const std::string problem = "softmax n" + std::to_string(width) + " isa=" + isa;
      // x - max is rounded once, below 40: e^(40 * 2^-24). Then exponential, sum and product.
      const double relative = (40 + 8 + depth(width)) * kUnit;
      CHECK_CLOSE(y.view(), want, relative, problem);
      // y enters twice, the second time in a sum of magnitude 1.
      CHECK_CLOSE(d_x.view(), d_want, 3 * relative + 4 * kUnit, problem);
    }
  });
}

TEST(Activation, IsEmptyOfNothing) {
  Context ctx;
  for (const char* name : {"linear", "relu", "gelu", "gelu_tanh", "silu", "elu", "softmax"}) {
    Tensor x({3, 0});
    Tensor y({3, 0});
    ops::activation_forward(ctx, name, x, y);
    ops::activation_backward(ctx, name, x, y, y);
    EXPECT_EQ(y.size(), 0);
  }
}

TEST(Activation, ThreadsDoNotChangeABit) {
  const Tensor x = random_tensor({50, 1000}, 1);
  const Tensor d_y = random_tensor({50, 1000}, 2);
  for (const char* name : {"relu", "leaky_relu", "gelu", "gelu_tanh", "silu", "tanh", "sigmoid",
                           "elu", "selu", "softplus", "exponential", "softmax"}) {
    std::vector<Tensor> found;
    for (const int threads : {1, 2, 5}) {
      Context ctx({.num_threads = threads});
      Tensor y(x.shape());
      Tensor d_x(x.shape());
      ops::activation_forward(ctx, name, x, y);
      ops::activation_backward(ctx, name, x, d_y, d_x);
      found.push_back(y);
      found.push_back(d_x);
    }
    for (std::size_t i = 2; i < found.size(); ++i) {
      EXPECT_TRUE(same_bits(found[i], found[i % 2])) << name;
    }
  }
}

TEST(ActivationLayer, FollowsCentralDifferencesAndHandsTheMaskOn) {
  Context ctx({.num_threads = 1});
  const Tensor x = random_tensor({2, 3, 5}, 3, Dtype::f64);
  for (const char* name : {"linear", "relu", "leaky_relu", "gelu", "gelu_tanh", "silu", "tanh",
                           "sigmoid", "elu", "selu", "softplus", "exponential", "softmax"}) {
    SCOPED_TRACE(name);
    ActivationLayer layer({.activation = name, .dtype = Dtype::f64});
    check_gradients(ctx, {.layer = layer, .in = {x}});
    const Value masked{x, Tensor::zeros({2, 3}, Dtype::boolean)};
    const std::vector<Value> out = layer.forward(ctx, std::span(&masked, 1), {}, nullptr);
    ASSERT_TRUE(out.at(0).mask.has_value());
    EXPECT_EQ(out[0].mask->view().raw(), masked.mask->view().raw());
  }
}

TEST(ActivationLayer, IsWrittenUnderKerasNames) {
  ActivationLayer layer({.activation = "swish", .name = "act"});
  EXPECT_EQ(layer.class_name(), "Activation");
  const ConfigValue config = layer.get_config();
  const ConfigValue::Object& entries = config.as_object("config");
  ASSERT_EQ(entries.size(), 4U);
  EXPECT_EQ(entries[0], ConfigValue::Entry("name", "act"));
  EXPECT_EQ(entries[1], ConfigValue::Entry("trainable", true));
  EXPECT_EQ(entries[2].first, "dtype");
  EXPECT_EQ(entries[3], ConfigValue::Entry("activation", "silu"));
  EXPECT_THAT(error_of<ConfigError>([] { Activation("cosine"); }),
              HasSubstr("[activation] name: expected one of linear, relu, gelu"));
}

TEST(SoftmaxLayer, TakesOneAxisOrSome) {
  Context ctx({.num_threads = 2});
  const Tensor x = random_tensor({2, 3, 4}, 3, Dtype::f64);
  for (const std::vector<Index>& axis :
       std::vector<std::vector<Index>>{{-1}, {1}, {0}, {1, 2}, {-1, 0}, {}}) {
    Softmax layer({.axis = axis, .dtype = Dtype::f64});
    check_gradients(ctx, {.layer = layer, .in = {x}});
    const Tensor y = call(ctx, layer, {x});
    const auto is_reduced = [&](Index i) {
      return axis.empty() || std::count(axis.begin(), axis.end(), i) > 0 ||
             std::count(axis.begin(), axis.end(), i - 3) > 0;
    };
    // Each element by its definition.
    for (Index i = 0; i < 24; ++i) {
      double sum = 0;
      for (Index j = 0; j < 24; ++j) {
        const bool same = (is_reduced(0) || i / 12 == j / 12) &&
                          (is_reduced(1) || i / 4 % 3 == j / 4 % 3) &&
                          (is_reduced(2) || i % 4 == j % 4);
        if (same) sum += std::exp(element(x, j));
      }
      EXPECT_NEAR(element(y, i), std::exp(element(x, i)) / sum, 1e-15);
    }
  }
}

TEST(SoftmaxLayer, WhatIsMaskedIsZeroEvenWhereAllIs) {
  Context ctx;
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const Tensor x = Tensor::from({2, 3}, {1, 1, nan, 5, 6, 7});
  Tensor real = Tensor::zeros({2, 3}, Dtype::boolean);
  real.data<bool>()[0] = real.data<bool>()[1] = true;
  Softmax layer({});
  const Value own = {x, real};
  const std::vector<Value> out = layer.forward(ctx, std::span(&own, 1), {}, nullptr);
  EXPECT_TRUE(same_bits(out.at(0).tensor, Tensor::from({2, 3}, {0.5, 0.5, 0, 0, 0, 0})));
  EXPECT_TRUE(same_bits(out[0].mask.value(), real));
  // Numbers above 0.5 keep; the mask broadcasts.
  const Value given[] = {{random_tensor({2, 3}, 1), {}}, {Tensor::from({3}, {0.4F, 1, 0.5F}), {}}};
  EXPECT_TRUE(same_bits(layer.forward(ctx, given, {}, nullptr).at(0).tensor,
                        Tensor::from({2, 3}, {0, 1, 0, 0, 1, 0})));
  const Value wide[] = {{x, {}}, {Tensor::zeros({2, 2, 3}, Dtype::boolean), {}}};
  EXPECT_THAT(error_of<ShapeError>([&] { layer.forward(ctx, wide, {}, nullptr); }),
              HasSubstr("[2, 2, 3]"));
}

TEST(SoftmaxLayer, ComesBackFromItsConfiguration) {
  for (const ConfigValue& axis :
       {ConfigValue(-1), ConfigValue(ConfigValue::List{1, 2}), ConfigValue()}) {
    const ConfigValue config =
        make_layer("Softmax", ConfigValue::Object{{"axis", axis}})->get_config();
    EXPECT_EQ(config["axis"], axis);
    EXPECT_EQ(make_layer("Softmax", config)->get_config(), config);
  }
  EXPECT_THAT(error_of<ConfigError>([] {
                Softmax({.axis = {1, 1}});
              }),
              HasSubstr("each axis once"));
}

}  // namespace
}  // namespace grouphead
