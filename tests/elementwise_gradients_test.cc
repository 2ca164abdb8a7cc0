// The f64 references against central differences.

#include "elementwise_fixture.h"
#include "ops/activation.h"
#include "ops/dropout.h"
#include "ops/embedding.h"
#include "ops/linear.h"
#include "ops/loss.h"
#include "ops/normalization.h"
#include "ops/rope.h"

namespace grouphead {
namespace {

using namespace testing_support;  // NOLINT(google-build-using-namespace)
using ops::Direction;
using ops::Write;

// The loss of an operation: its f64 output weighted by fixed numbers in (-1, 1).
double weighted(const Tensor& y) {
  double sum = 0;
  for (Index i = 0; i < y.size(); ++i) sum += y.data<double>()[i] * uniform_at(99, i, -1, 1);
  return sum;
}
Tensor weights(const Shape& shape) {
  return tabulate(shape, [](Index i) { return uniform_at(99, i, -1, 1); });
}
Tensor values(const Shape& shape, std::uint64_t seed) {
  return tabulate(shape, [&](Index i) { return uniform_at(seed, i, -1.5, 1.5); });
}

// (f(x + h) - f(x - h)) / 2h is off by h^2 f''' / 6 + 2^-53 |f| / h: with h = 1e-5, derivatives
// and losses up to 30 that is below 1e-9.
constexpr double kStep = 1e-5;
constexpr double kBound = 1e-9;

void check_gradient(Tensor& x, const std::function<double()>& loss, const Tensor& gradient,
                    const char* what) {
  for (Index i = 0; i < x.size(); ++i) {
    double& element = x.data<double>()[i];
    const double kept = element;
    element = kept + kStep;
    const double above = loss();
    element = kept - kStep;
    const double below = loss();
    element = kept;
    EXPECT_NEAR(gradient.data<double>()[i], (above - below) / (2 * kStep), kBound)
        << what << " element " << i;
  }
}

TEST(ReferenceGradients, LayerNorm) {
  Context ctx({.num_threads = 1});
  constexpr Index kRows = 4, kWidth = 7;
  Tensor x = values({kRows, kWidth}, 1), gamma = values({kWidth}, 2), beta = values({kWidth}, 3);
  Tensor y({kRows, kWidth}, Dtype::f64), mean({kRows}, Dtype::f64), rstd({kRows}, Dtype::f64);
  const auto loss = [&] {
    ops::layer_norm_forward(ctx, x, gamma, beta, 1e-3, y, mean, rstd);
    return weighted(y);
  };
  loss();
  Tensor d_x({kRows, kWidth}, Dtype::f64);
  Tensor d_gamma = Tensor::zeros({kWidth}, Dtype::f64), d_beta = d_gamma.clone();
  ops::layer_norm_backward(ctx, x, gamma, mean, rstd, weights({kRows, kWidth}), Write::overwrite,
                           d_x, d_gamma, d_beta);
  check_gradient(x, loss, d_x, "x");
  check_gradient(gamma, loss, d_gamma, "gamma");
  check_gradient(beta, loss, d_beta, "beta");
}

TEST(ReferenceGradients, Gelu) {
  Context ctx({.num_threads = 1});
  Tensor x = tabulate({41}, [](Index i) { return 0.25 * static_cast<double>(i - 20); });
  Tensor y({41}, Dtype::f64), d_x({41}, Dtype::f64);
  const auto loss = [&] {
    ops::gelu_forward(ctx, x, y);
    return weighted(y);
  };
  ops::gelu_backward(ctx, x, weights({41}), d_x);
  check_gradient(x, loss, d_x, "x");
}

TEST(ReferenceGradients, CrossEntropy) {
  Context ctx({.num_threads = 1});
  Tensor logits = values({3, 5}, 1);
  Tensor labels({3}, Dtype::i32);
  for (Index r = 0; r < 3; ++r) labels.data<std::int32_t>()[r] = static_cast<std::int32_t>(2 * r);
  Tensor lse({3}, Dtype::f64), d({3, 5}, Dtype::f64);
  const auto loss = [&] { return ops::softmax_cross_entropy_forward(ctx, logits, labels, lse); };
  loss();
  ops::softmax_cross_entropy_backward(ctx, logits, labels, lse, 1.0 / 3, d);
  check_gradient(logits, loss, d, "logits");
}

TEST(ReferenceGradients, Rope) {
  Context ctx({.num_threads = 1});
  for (const RopeLayout layout : {RopeLayout::half, RopeLayout::interleaved}) {
    const RopeConfig config = {.layout = layout, .yarn = YarnConfig{}};
    const ops::RopeTable table = ops::make_rope_table(5, 6, config, Dtype::f64);
    Tensor x = values({1, 3, 2, 6}, 1);
    const auto loss = [&] {
      Tensor y = x.clone();
      ops::rope(ctx, table, 2, Direction::forward, y);
      return weighted(y);
    };
    Tensor d_x = weights(x.shape());
    ops::rope(ctx, table, 2, Direction::backward, d_x);
    check_gradient(x, loss, d_x, "x");
  }
}

TEST(ReferenceGradients, DropoutIsItsOwnBackward) {
  Context ctx({.num_threads = 1});
  Tensor x = values({50}, 1);
  Tensor y({50}, Dtype::f64);
  for (const auto algorithm : {RandomAlgorithm::philox, RandomAlgorithm::threefry}) {
    const RandomDraw draw = {algorithm, {5, 6}};
    const auto loss = [&] {
      ops::dropout(ctx, x, 0.3, draw, Dtype::f64, y);
      return weighted(y);
    };
    Tensor d_x = weights({50});
    ops::dropout(ctx, d_x, 0.3, draw, Dtype::f64, d_x);
    check_gradient(x, loss, d_x, "x");
  }
}

TEST(ReferenceGradients, Embedding) {
  Context ctx({.num_threads = 1});
  Tensor table = values({4, 3}, 1);
  Tensor tokens({5}, Dtype::i32);
  const std::int32_t places[] = {3, 1, 3, 3, 0};
  for (Index r = 0; r < 5; ++r) tokens.data<std::int32_t>()[r] = places[r];
  Tensor y({5, 3}, Dtype::f64);
  const auto loss = [&] {
    ops::embedding_forward(ctx, tokens, table, y);
    return weighted(y);
  };
  Tensor d_table = Tensor::zeros({4, 3}, Dtype::f64);
  ops::embedding_backward(ctx, tokens, weights({5, 3}), d_table);
  check_gradient(table, loss, d_table, "table");
}

// Sources other than our own formulas.
TEST(Reference, AgreesWithPublishedValues) {
  Context ctx({.num_threads = 1});
  // Phi(1) and Phi(2): Abramowitz & Stegun, table 26.1.
  Tensor x = tabulate({4}, [](Index i) { return std::vector<double>{1, 2, -1, 0}[size_t(i)]; });
  ops::gelu_forward(ctx, x, x);
  EXPECT_NEAR(x.data<double>()[0], 0.841344746068543, 1e-14);
  EXPECT_NEAR(x.data<double>()[1], 2 * 0.977249868051821, 1e-14);
  EXPECT_NEAR(x.data<double>()[2], -(1 - 0.841344746068543), 1e-14);
  EXPECT_EQ(x.data<double>()[3], 0.0);
  // Uniform logits over V classes: ln V.
  const Tensor logits = Tensor::zeros({2, 256}, Dtype::f64);
  const Tensor labels = Tensor::zeros({2}, Dtype::i32);
  EXPECT_NEAR(ops::softmax_cross_entropy_forward(ctx, logits, labels, {}), std::log(256.0), 1e-14);
  // (1, 3): mean 2, variance 1.
  Tensor row = tabulate({2}, [](Index i) { return 1.0 + 2 * static_cast<double>(i); });
  const Tensor ones = tabulate({2}, [](Index) { return 1.0; });
  ops::layer_norm_forward(ctx, row, ones, ones, 0, row, {}, {});
  EXPECT_NEAR(row.data<double>()[0], 0.0, 1e-15);
  EXPECT_NEAR(row.data<double>()[1], 2.0, 1e-15);
}

}  // namespace
}  // namespace grouphead
