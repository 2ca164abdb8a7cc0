// Every f32 kernel of every level against loops in double.

#include <algorithm>
#include <cmath>
#include <limits>

#include "elementwise_fixture.h"
#include "kernels/rowwise/saturating.h"
#include "ops/activation.h"
#include "ops/activation_functions.h"
#include "ops/arithmetic.h"
#include "ops/embedding.h"
#include "ops/loss.h"
#include "ops/optimizer.h"

namespace grouphead {
namespace {

using namespace testing_support;  // NOLINT(google-build-using-namespace)

std::string problem(const char* operation, Index n, const std::string& isa) {
  return std::string(operation) + " f32 n" + std::to_string(n) + " isa=" + isa;
}

TEST(Add, RoundsOnceAndMayWriteOverAnOperand) {
  for_each_level([](Context& ctx, const std::string& isa) {
    for (const Index n : kAwkward) {
      Operand a({n}, 1);
      Operand b({n}, 2);
      Guarded y({n});
      ops::add(ctx, a.f32.view(), b.f32.view(), y.view());
      ops::add(ctx, a.f32.view(), b.f32.view(), b.f32.view());
      ops::add(ctx, a.f32.view(), a.f32.view(), a.f32.view());
      for (Index i = 0; i < n; ++i) {
        EXPECT_EQ(y[i], static_cast<float>(a[i]) + static_cast<float>(b[i])) << isa;
        EXPECT_EQ(b.f32[i], y[i]) << isa;
        EXPECT_EQ(a.f32[i], 2 * static_cast<float>(a[i])) << isa;
      }
    }
  });
}

// exp is off by 1.3 roundings, and adding 1 and dividing cost one each; of tanh's (1 - e) / (1 + e)
// the rounding of e and of its argument reaches the result 2.3-fold at most, behind 0.625.
TEST(Saturating, AreWithinFewRoundings) {
  std::vector<float> x = {0.0F, -0.0F, 1e-30F, -1e-30F, 0.625F, -0.625F, 1e30F};
  for (int i = -4000; i <= 4000; ++i) x.push_back(0.005F * static_cast<float>(i));
  for_each_level([&](Context& ctx, const std::string& isa) {
    const auto& table = kernels::saturating_kernels(static_cast<kernels::Level>(ctx.isa()));
    const auto count = static_cast<Index>(x.size());
    std::vector<float> s = x, t = x;
    table.sigmoid(s.data(), count, s.data());
    table.tanh(t.data(), count, t.data());
    for (std::size_t i = 0; i < x.size(); ++i) {
      const auto at = static_cast<double>(x[i]);
      const double sigmoid = 1 / (1 + std::exp(-at));
      EXPECT_NEAR(s[i], sigmoid, 0x1p-24 * 4 * sigmoid) << x[i] << " at " << isa;
      EXPECT_NEAR(t[i], std::tanh(at), 0x1p-24 * 5 * std::abs(std::tanh(at))) << x[i] << " " << isa;
      EXPECT_EQ(std::signbit(t[i]), std::signbit(x[i])) << x[i] << " at " << isa;
    }
    const float infinity = std::numeric_limits<float>::infinity();
    float ends[] = {infinity, -infinity, std::numeric_limits<float>::quiet_NaN()};
    float waves[] = {ends[0], ends[1], ends[2]};
    table.sigmoid(ends, 3, ends);
    table.tanh(waves, 3, waves);
    EXPECT_EQ(ends[0], 1) << isa;
    EXPECT_EQ(ends[1], 0) << isa;
    EXPECT_EQ(waves[0], 1) << isa;
    EXPECT_EQ(waves[1], -1) << isa;
    EXPECT_TRUE(std::isnan(ends[2]) && std::isnan(waves[2])) << isa;
  });
}

/// Largest error of a kernel against f, in terms of 2^-24 times size(x). Below the normal numbers
/// exp(-|x|) has a unit of 2^-149, which is multiplied with x and a slope: with 128 at most.
template <class F, class Size>
double worst(const std::vector<float>& x, const std::vector<float>& y, const F& f,
             const Size& size) {
  double largest = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const auto at = static_cast<double>(x[i]);
    largest = std::max(largest, std::abs(y[i] - f(at)) / (0x1p-24 * size(at) + 0x1p-142));
  }
  return largest;
}

// exp is off by 1.3 roundings; each operation adds one. A sigmoid's argument u that is off by three
// roundings changes it by 3 |u|.
TEST(Saturating, ProductsAndGradientsAreWithinFewRoundings) {
  namespace f = ops::activations;
  std::vector<float> x = {0.0F, -0.0F, 1e-30F, -1e-30F, 1e15F, -1e15F, 88.7F, -88.7F};
  for (int i = -4000; i <= 4000; ++i) x.push_back(0.005F * static_cast<float>(i));
  const auto count = static_cast<Index>(x.size());
  const std::vector<float> d_y(x.size(), 0.75F);
  const auto sigmoid = [](double at) { return 1 / (1 + std::exp(-at)); };
  const auto gelu_argument = [](double at) {
    return std::min(1e3, 1.6 * std::abs(at) * (1 + 0.045 * at * at));
  };
  for_each_level([&](Context& ctx, const std::string& isa) {
    if (ctx.isa() == Isa::ref) return;  // they are plain loops
    const auto& table = kernels::saturating_kernels(static_cast<kernels::Level>(ctx.isa()));
    std::vector<float> y = x;
    table.silu(y.data(), count, y.data());
    EXPECT_LT(worst(
                  x, y, [](double at) { return f::Silu::value(at); },
                  [&](double at) { return std::abs(at) * sigmoid(at); }),
              6)
        << isa;
    y = x;
    table.gelu_tanh(y.data(), count, y.data());
    EXPECT_LT(worst(
                  x, y, [](double at) { return f::GeluTanh::value(at); },
                  [&](double at) {
                    return (6 + 4 * gelu_argument(at)) *
                           std::abs(f::GeluTanh::value(std::clamp(at, -30.0, 1e15)));
                  }),
              1)
        << isa;
    const auto gradient = [&](auto* kernel) {
      std::vector<float> d = d_y;
      kernel(x.data(), d.data(), count, d.data());
      return d;
    };
    EXPECT_LT(worst(
                  x, gradient(table.sigmoid_gradient),
                  [](double at) { return f::Sigmoid::gradient(at, 0.75); },
                  [](double at) { return f::Sigmoid::gradient(at, 0.75); }),
              9)
        << isa;
    EXPECT_LT(worst(
                  x, gradient(table.tanh_gradient),
                  [&](double at) { return 3 * sigmoid(2 * at) * sigmoid(-2 * at); },
                  [&](double at) { return 3 * sigmoid(2 * at) * sigmoid(-2 * at); }),
              10)
        << isa;
    const auto terms = [&](double at) { return sigmoid(at) * (1 + std::abs(at) * sigmoid(-at)); };
    EXPECT_LT(worst(
                  x, gradient(table.silu_gradient),
                  [](double at) { return f::Silu::gradient(at, 0.75); }, terms),
              12)
        << isa;
    EXPECT_LT(worst(
                  x, gradient(table.gelu_tanh_gradient),
                  [](double at) { return f::GeluTanh::gradient(at, 0.75); },
                  [&](double at) {
                    const double u = std::copysign(gelu_argument(at), at);
                    return (9 + 8 * std::abs(u)) * sigmoid(u) * (1 + 3 * std::abs(u) * sigmoid(-u));
                  }),
              1)
        << isa;
    float nothing[] = {std::numeric_limits<float>::quiet_NaN()};
    for (auto* kernel : {table.silu, table.gelu_tanh}) {
      kernel(nothing, 1, nothing);
      EXPECT_TRUE(std::isnan(nothing[0])) << isa;
    }
  });
}

TEST(Scale, RoundsOnceAndMayWriteOverItsOperand) {
  for_each_level([](Context& ctx, const std::string& isa) {
    for (const Index n : kAwkward) {
      Operand x({n}, 1);
      ops::scale(ctx, x.f32.view(), 0.3, x.f32.view());
      for (Index i = 0; i < n; ++i) {
        EXPECT_EQ(x.f32[i], 0.3F * static_cast<float>(x[i])) << isa << " element " << i;
      }
    }
  });
}

TEST(SumOfSquares, IsExactToDouble) {
  for_each_level([](Context& ctx, const std::string& isa) {
    for (const Index n : {Index{0}, Index{1}, Index{33}, Index{1000}, Index{100000}}) {
      Operand x({n}, 1, -3, 3);
      double want = 0;
      for (Index i = 0; i < n; ++i) want += x[i] * x[i];
      // Squares are exact; either sum has at most n additions.
      const double bound = 2 * static_cast<double>(n) * 0x1p-53 * want;
      EXPECT_NEAR(ops::sum_of_squares(ctx, x.f32.view()), want, bound) << isa << " n " << n;
    }
  });
}

// exp(x) is what the gradient of cross-entropy gives with lse = 0 away from the label.
TEST(Exp, IsGoodToTwoRoundingsAndKeepsItsLimits) {
  constexpr Index kCount = 200001;
  for_each_level([](Context& ctx, const std::string& isa) {
    Operand x({1, kCount});
    for (Index i = 1; i < kCount; ++i) x.set(i, -110 + 0.001 * static_cast<double>(i));
    const float inf = std::numeric_limits<float>::infinity();
    x.set(1, -inf);
    x.set(2, inf);
    x.set(3, std::nan(""));
    const Tensor lse = Tensor::zeros({1});
    const std::int32_t label = 0;
    Guarded y({1, kCount});
    ops::softmax_cross_entropy_backward(ctx, x.f32.view(), {&label, {1}}, lse, 1, y.view());
    EXPECT_EQ(y[1], 0.0F) << isa;
    EXPECT_EQ(y[2], inf) << isa;
    EXPECT_TRUE(std::isnan(y[3])) << isa;
    y[0] = y[3] = 0;
    // Two roundings of a normal number; one step of the grid below the normal range.
    const auto value = [&](Index i) { return i == 0 || i == 3 ? 0.0 : std::exp(x[i]); };
    const auto stored = [&](Index i) {
      const double e = value(i);
      return e > std::numeric_limits<float>::max() ? HUGE_VAL : e;
    };
    const auto bound = [&](Index i) { return 2 * kUnit * value(i) + 0x1p-149; };
    CHECK_CLOSE(y.view(), tabulate({1, kCount}, stored), tabulate({1, kCount}, bound),
                problem("exp", kCount, isa));
  });
}

double normal_cdf(double x) { return 0.5 * std::erfc(-x * std::sqrt(0.5)); }
double normal_pdf(double x) { return std::exp(-0.5 * x * x) / std::sqrt(2 * std::acos(-1.0)); }

// Every third argument near zero, the others out to where the tails vanish.
void fill_gelu_arguments(Operand& x) {
  for (Index i = 0; i < x.size(); ++i) {
    x.set(i, uniform_at(3, i, -1, 1) * (i % 3 == 1 ? 0.01 : 8));
  }
}

TEST(Gelu, IsWithinItsBoundOfTheExactForm) {
  for_each_level([](Context& ctx, const std::string& isa) {
    for (const Index n : {1, 15, 16, 17, 31, 33, 100, 1000, 100000}) {
      Operand x({n});
      fill_gelu_arguments(x);
      Guarded y({n});
      ops::gelu_forward(ctx, x.f32.view(), y.view());
      const Tensor want = tabulate({n}, [&](Index i) { return x[i] * normal_cdf(x[i]); });
      // The contract of the approximation: 2e-7 max(1, |x|).
      const Tensor bound =
          tabulate({n}, [&](Index i) { return 2e-7 * std::max(1.0, std::abs(x[i])); });
      CHECK_CLOSE(y.view(), want, bound, problem("gelu", n, isa));
      ops::gelu_forward(ctx, x.f32.view(), x.f32.view());
      for (Index i = 0; i < n; ++i) ASSERT_EQ(x.f32[i], y[i]) << isa;
    }
  });
}

TEST(Gelu, IsZeroOrItsArgumentFarOut) {
  for_each_level([](Context& ctx, const std::string& isa) {
    Tensor x = Tensor::from({6}, {-1e30F, -1000.0F, -20.0F, 20.0F, 1000.0F, 1e30F});
    Tensor y({6});
    ops::gelu_forward(ctx, x, y);
    Tensor d_y = Tensor::from({6}, {1, 1, 1, 1, 1, 1});
    Tensor d_x({6});
    ops::gelu_backward(ctx, x, d_y, d_x);
    for (Index i = 0; i < 6; ++i) {
      EXPECT_EQ(y.data<float>()[i], i < 3 ? 0.0F : x.data<float>()[i]) << isa;
      EXPECT_EQ(d_x.data<float>()[i], i < 3 ? 0.0F : 1.0F) << isa;
    }
  });
}

TEST(GeluGradient, IsWithinItsBoundAndMayWriteOverTheUpstreamGradient) {
  for_each_level([](Context& ctx, const std::string& isa) {
    for (const Index n : {1, 15, 16, 17, 31, 33, 100, 1000, 100000}) {
      Operand x({n});
      fill_gelu_arguments(x);
      Operand d_y({n}, 4);
      ops::gelu_backward(ctx, x.f32.view(), d_y.f32.view(), d_y.f32.view());
      const Tensor want = tabulate(
          {n}, [&](Index i) { return d_y[i] * (normal_cdf(x[i]) + x[i] * normal_pdf(x[i])); });
      // Phi is good to 2e-7. x phi(x) <= 0.25 has seven roundings, two of which act on x^2 / 2
      // before the exponential: |x|^3 phi(x) <= 0.47.
      const Tensor bound = tabulate({n}, [&](Index i) {
        return (2e-7 + (7 * 0.25 + 0.47 + 2) * kUnit) * std::abs(d_y[i]) + 0x1p-126;
      });
      CHECK_CLOSE(d_y.f32.view(), want, bound, problem("gelu_backward", n, isa));
    }
  });
}

TEST(AdamW, IsOneStepOfKeras) {
  const ops::AdamWStep step = {.decay = 0.01 * 0.1,
                               .alpha = 0.005,
                               .beta_1 = 0.9,
                               .beta_2 = 0.999,
                               .epsilon = 1e-7,
                               .gradient_scale = 0.5};
  for_each_level([&](Context& ctx, const std::string& isa) {
    for (const Index n : kAwkward) {
      Operand g({n}, 1), w({n}, 2), m({n}, 3), v({n}, 4, 0, 0.5);
      ops::adamw(ctx, step, g.f32.view(), w.f32.view(), m.f32.view(), v.f32.view());
      Tensor want[3];
      Tensor bound[3];
      for (Tensor& x : want) x = Tensor({n}, Dtype::f64);
      for (Tensor& x : bound) x = Tensor({n}, Dtype::f64);
      for (Index i = 0; i < n; ++i) {
        const double gradient = 0.5 * g[i];
        const double decayed = w[i] - w[i] * 0.01 * 0.1;
        const double moment = m[i] + (gradient - m[i]) * (1 - 0.9);
        const double square = v[i] + (gradient * gradient - v[i]) * (1 - 0.999);
        const double root = std::sqrt(square) + 1e-7;
        want[0].data<double>()[i] = decayed - 0.005 * moment / root;
        want[1].data<double>()[i] = moment;
        want[2].data<double>()[i] = square;
        // Five roundings of each moment's terms, coefficients included; the quotient then has six
        // of its own besides what the moments carry in.
        const double e_m = 5 * kUnit * (std::abs(m[i]) + std::abs(gradient));
        const double e_v = 5 * kUnit * (v[i] + gradient * gradient);
        const double e_root = e_v / (2 * std::sqrt(square));
        const double quotient = std::abs(moment) / root;
        bound[0].data<double>()[i] =
            4 * kUnit * std::abs(w[i]) +
            0.005 * (e_m / root + quotient * e_root / root + 6 * kUnit * quotient);
        bound[1].data<double>()[i] = e_m;
        bound[2].data<double>()[i] = e_v;
      }
      CHECK_CLOSE(w.f32.view(), want[0], bound[0], problem("adamw w", n, isa));
      CHECK_CLOSE(m.f32.view(), want[1], bound[1], problem("adamw m", n, isa));
      CHECK_CLOSE(v.f32.view(), want[2], bound[2], problem("adamw v", n, isa));
    }
  });
}

// Numbers of keras.optimizers.AdamW(0.1, weight_decay=0.5) on w = 2, gradient 3, written out: the
// first step has m = 0.3, v = 0.009 and alpha = 0.1 sqrt(0.001) / 0.1.
TEST(AdamW, FirstStepMovesByTheLearningRateAfterTheDecay) {
  for (const Dtype dtype : {Dtype::f32, Dtype::f64}) {
    Context ctx({.num_threads = 1});
    Tensor values[4];  // gradient, w, m, v
    for (Tensor& value : values) value = Tensor::zeros({1}, dtype);
    const auto set = [&](Tensor& x, double value) {
      dtype == Dtype::f32 ? void(x.data<float>()[0] = static_cast<float>(value))
                          : void(x.data<double>()[0] = value);
    };
    const auto get = [&](const Tensor& x) {
      return dtype == Dtype::f32 ? double{x.data<float>()[0]} : x.data<double>()[0];
    };
    set(values[0], 3);
    set(values[1], 2);
    const double alpha = 0.1 * std::sqrt(1 - 0.999) / (1 - 0.9);
    ops::adamw(ctx, {0.1 * 0.5, alpha, 0.9, 0.999, 1e-7, 1.0}, values[0], values[1], values[2],
               values[3]);
    EXPECT_NEAR(get(values[1]), 2 - 0.1 * 0.5 * 2 - 0.1, 1e-6);
    EXPECT_NEAR(get(values[2]), 0.3, 1e-7);
    EXPECT_NEAR(get(values[3]), 0.009, 1e-8);
  }
}

TEST(Embedding, CopiesRowsAndScattersGradientsBack) {
  constexpr Index kRows = 70;
  for_each_level([](Context& ctx, const std::string& isa) {
    for (const Index width : kAwkward) {
      Operand table({5, width}, 1), d_y({kRows, width}, 2), d_table({5, width}, 3);
      Tensor tokens({7, 10}, Dtype::i32);
      for (Index r = 0; r < kRows; ++r) {
        tokens.data<std::int32_t>()[r] = static_cast<std::int32_t>(r * r % 4);  // never 2, 3, 4
      }
      const auto token = [&](Index r) { return Index{tokens.data<std::int32_t>()[r]}; };
      Guarded y({kRows, width});
      ops::embedding_forward(ctx, tokens, table.f32.view(), y.view());
      for (Index i = 0; i < y.size(); ++i) {
        ASSERT_EQ(y[i], table.f32[token(i / width) * width + i % width]) << isa;
      }
      Tensor want = d_table.f64.clone();
      Tensor magnitude = tabulate({5, width}, [&](Index i) { return std::abs(d_table[i]); });
      for (Index i = 0; i < d_y.size(); ++i) {
        const Index at = token(i / width) * width + i % width;
        want.data<double>()[at] += d_y[i];
        magnitude.data<double>()[at] += std::abs(d_y[i]);
      }
      const Tensor bound = tabulate({5, width}, [&](Index i) {
        return static_cast<double>(kRows) * kUnit * magnitude.data<double>()[i];
      });
      ops::embedding_backward(ctx, tokens, d_y.f32.view(), d_table.f32.view());
      CHECK_CLOSE(d_table.f32.view(), want, bound, problem("embedding_backward", width, isa));
      for (Index i = 2 * width; i < 5 * width; ++i) {
        ASSERT_EQ(static_cast<double>(d_table.f32[i]), d_table[i]) << "a row without tokens";
      }
    }
  });
}

}  // namespace
}  // namespace grouphead
