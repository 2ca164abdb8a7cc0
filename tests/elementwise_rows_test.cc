// Layer normalisation, cross-entropy and rotation of every level against loops in double.

#include <algorithm>
#include <limits>

#include "elementwise_fixture.h"
#include "ops/linear.h"
#include "ops/loss.h"
#include "ops/normalization.h"
#include "ops/rope.h"

namespace grouphead {
namespace {

using namespace testing_support;  // NOLINT(google-build-using-namespace)
using ops::Direction;
using ops::Write;

std::string problem(const char* operation, Index rows, Index n, const std::string& isa) {
  return std::string(operation) + " f32 rows" + std::to_string(rows) + " n" + std::to_string(n) +
         " isa=" + isa;
}

constexpr Index kRows = 130;  // three blocks of the parameter gradients

struct RowStatistics {
  double mean = 0, rstd = 0, magnitude = 0;
};
RowStatistics statistics(const Operand& x, Index row, Index n, double epsilon) {
  RowStatistics s;
  double variance = 0;
  const auto width = static_cast<double>(n);
  for (Index j = 0; j < n; ++j) s.mean += x[row * n + j] / width;
  for (Index j = 0; j < n; ++j) {
    variance += (x[row * n + j] - s.mean) * (x[row * n + j] - s.mean) / width;
    s.magnitude += std::abs(x[row * n + j]) / width;
  }
  s.rstd = 1 / std::sqrt(variance + epsilon);
  return s;
}

TEST(LayerNorm, IsWithinRoundingOfItsDefinition) {
  constexpr double kEpsilon = 1e-3;
  for_each_level([&](Context& ctx, const std::string& isa) {
    for (const Index n : kAwkward) {
      Operand x({kRows, n}, 1, -1, 3), gamma({n}, 2), beta({n}, 3);
      Guarded y({kRows, n}), mean({kRows}), rstd({kRows});
      ops::layer_norm_forward(ctx, x.f32.view(), gamma.f32.view(), beta.f32.view(), kEpsilon,
                              y.view(), mean.view(), rstd.view());
      std::vector<RowStatistics> of_rows;
      for (Index r = 0; r < kRows; ++r) of_rows.push_back(statistics(x, r, n, kEpsilon));
      const auto of = [&](Index i) { return of_rows[static_cast<std::size_t>(i / n)]; };
      const auto normed = [&](Index i) { return (x[i] - of(i).mean) * of(i).rstd; };
      const auto value = [&](Index i) { return gamma[i % n] * normed(i) + beta[i % n]; };
      // The mean has depth(n) + 2 roundings of mean |x|. It moves the variance in second order
      // only, so that sum's own depth(n) + 4 roundings count, halved by the root.
      const double sums = depth(n) + 4;
      const auto bound = [&](Index i) {
        const RowStatistics s = of(i);
        const double moved = s.rstd * s.magnitude * sums * kUnit;
        return std::abs(gamma[i % n]) * (moved + std::abs(normed(i)) * (sums / 2 + 5) * kUnit) +
               2 * kUnit * (std::abs(gamma[i % n] * normed(i)) + std::abs(beta[i % n]));
      };
      CHECK_CLOSE(y.view(), tabulate({kRows, n}, value), tabulate({kRows, n}, bound),
                  problem("layer_norm", kRows, n, isa));
      for (Index r = 0; r < kRows; ++r) {
        const RowStatistics s = of(r * n);
        EXPECT_NEAR(mean[r], s.mean, s.magnitude * sums * kUnit) << isa;
        EXPECT_NEAR(rstd[r], s.rstd, s.rstd * (sums / 2 + 2) * kUnit) << isa;
      }
      Guarded alone({kRows, n});
      ops::layer_norm_forward(ctx, x.f32.view(), gamma.f32.view(), beta.f32.view(), kEpsilon,
                              alone.view(), {}, {});
      ops::layer_norm_forward(ctx, x.f32.view(), gamma.f32.view(), beta.f32.view(), kEpsilon,
                              x.f32.view(), {}, {});
      for (Index i = 0; i < y.size(); ++i) {
        ASSERT_EQ(y[i], alone[i]) << isa << ": statistics kept or not";
        ASSERT_EQ(y[i], x.f32[i]) << isa << ": in place";
      }
    }
  });
}

// The oracle takes the saved statistics as they are: they are operands of the backward.
struct NormGradients {
  Tensor d_x, d_x_bound, d_gamma, d_gamma_bound, d_beta, d_beta_bound;
};
NormGradients norm_gradients(const Operand& x, const Operand& gamma, const Operand& d_y,
                             Guarded& mean, Guarded& rstd, Index n) {
  const Shape rows = {kRows, n};
  NormGradients out{Tensor::zeros(rows, Dtype::f64), Tensor::zeros(rows, Dtype::f64),
                    Tensor::zeros({n}, Dtype::f64),  Tensor::zeros({n}, Dtype::f64),
                    Tensor::zeros({n}, Dtype::f64),  Tensor::zeros({n}, Dtype::f64)};
  const auto width = static_cast<double>(n);
  const double block_sums = (static_cast<double>(kRows) + 4) * kUnit;
  for (Index r = 0; r < kRows; ++r) {
    const auto normed = [&](Index j) { return (x[r * n + j] - double{mean[r]}) * rstd[r]; };
    const auto g = [&](Index j) { return d_y[r * n + j] * gamma[j]; };
    double mean_g = 0, mean_gx = 0, size_g = 0, size_gx = 0;
    for (Index j = 0; j < n; ++j) {
      mean_g += g(j) / width;
      mean_gx += g(j) * normed(j) / width;
      size_g += std::abs(g(j)) / width;
      size_gx += std::abs(g(j) * normed(j)) / width;
    }
    for (Index j = 0; j < n; ++j) {
      const Index i = r * n + j;
      out.d_x.data<double>()[i] = rstd[r] * (g(j) - mean_g - normed(j) * mean_gx);
      // Each of the three terms: its sum's roundings, and at most twelve on the way.
      out.d_x_bound.data<double>()[i] = (depth(n) + 12) * kUnit * double{rstd[r]} *
                                        (std::abs(g(j)) + size_g + std::abs(normed(j)) * size_gx);
      out.d_gamma.data<double>()[j] += d_y[i] * normed(j);
      out.d_gamma_bound.data<double>()[j] += block_sums * std::abs(d_y[i] * normed(j));
      out.d_beta.data<double>()[j] += d_y[i];
      out.d_beta_bound.data<double>()[j] += block_sums * std::abs(d_y[i]);
    }
  }
  return out;
}

TEST(LayerNormGradient, IsWithinRoundingAndAddsWhereTold) {
  for_each_level([&](Context& ctx, const std::string& isa) {
    for (const Index n : kAwkward) {
      Operand x({kRows, n}, 1, -1, 3), gamma({n}, 2), beta({n}, 3), d_y({kRows, n}, 4);
      Guarded y({kRows, n}), mean({kRows}), rstd({kRows}), d_x({kRows, n}), d_gamma({n}),
          d_beta({n});
      ops::layer_norm_forward(ctx, x.f32.view(), gamma.f32.view(), beta.f32.view(), 1e-3, y.view(),
                              mean.view(), rstd.view());
      const NormGradients want = norm_gradients(x, gamma, d_y, mean, rstd, n);
      fill_zero(d_gamma.view());
      fill_zero(d_beta.view());
      const auto run = [&](Write write, View to, View to_gamma, View to_beta) {
        ops::layer_norm_backward(ctx, x.f32.view(), gamma.f32.view(), mean.view(), rstd.view(),
                                 d_y.f32.view(), write, to, to_gamma, to_beta);
      };
      run(Write::overwrite, d_x.view(), d_gamma.view(), d_beta.view());
      const std::string key = problem("layer_norm_backward", kRows, n, isa);
      CHECK_CLOSE(d_x.view(), want.d_x, want.d_x_bound, key);
      CHECK_CLOSE(d_gamma.view(), want.d_gamma, want.d_gamma_bound, key);
      CHECK_CLOSE(d_beta.view(), want.d_beta, want.d_beta_bound, key);

      Guarded twice({kRows, n}), only_gamma({n});
      copy(d_x.view(), twice.view());
      fill_zero(only_gamma.view());
      run(Write::add, twice.view(), {}, {});
      run(Write::overwrite, {}, only_gamma.view(), {});
      for (Index i = 0; i < twice.size(); ++i) ASSERT_EQ(twice[i], 2 * d_x[i]) << key;
      for (Index j = 0; j < n; ++j) ASSERT_EQ(only_gamma[j], d_gamma[j]) << key;
    }
  });
}

TEST(CrossEntropy, LossAndGradientAreWithinRounding) {
  constexpr Index kFew = 20;
  for_each_level([&](Context& ctx, const std::string& isa) {
    for (const Index n : kAwkward) {
      Operand logits({kFew, n}, 1, -20, 20);
      Tensor labels({kFew}, Dtype::i32);
      std::vector<double> lse(kFew);
      double loss = 0, loss_bound = 0;
      for (Index r = 0; r < kFew; ++r) {
        const Index label = r * 37 % n;
        labels.data<std::int32_t>()[r] = static_cast<std::int32_t>(label);
        double max = -HUGE_VAL, total = 0;
        for (Index j = 0; j < n; ++j) max = std::max(max, logits[r * n + j]);
        for (Index j = 0; j < n; ++j) total += std::exp(logits[r * n + j] - max);
        const auto row = static_cast<std::size_t>(r);
        lse[row] = max + std::log(total);
        loss += (lse[row] - logits[r * n + label]) / kFew;
        // An exponential has two roundings besides the one of its argument, 40 at most; the
        // logarithm turns the sum's relative error into an absolute one.
        loss_bound += (depth(n) + 2 + 40) * kUnit / kFew;
      }
      Guarded kept({kFew});
      const std::string key = problem("cross_entropy", kFew, n, isa);
      const double got =
          ops::softmax_cross_entropy_forward(ctx, logits.f32.view(), labels, kept.view());
      EXPECT_NEAR(got, loss, loss_bound) << key;
      EXPECT_EQ(ops::softmax_cross_entropy_forward(ctx, logits.f32.view(), labels, {}), got);
      for (Index r = 0; r < kFew; ++r) {
        const double want = lse[static_cast<std::size_t>(r)];
        EXPECT_NEAR(kept[r], want, loss_bound + kUnit * std::abs(want)) << key;
      }
      const double scale = 0.25;
      const auto p = [&](Index i) { return std::exp(logits[i] - double{kept[i / n]}); };
      const auto hot = [&](Index i) {
        return i % n == labels.data<std::int32_t>()[i / n] ? 1.0 : 0.0;
      };
      const Tensor want = tabulate({kFew, n}, [&](Index i) { return scale * (p(i) - hot(i)); });
      const Tensor bound = tabulate({kFew, n}, [&](Index i) {
        const double argument = std::abs(logits[i] - double{kept[i / n]});
        return scale * kUnit * (p(i) * (4 + argument) + 2 * hot(i)) + 0x1p-149;
      });
      Guarded d({kFew, n});
      ops::softmax_cross_entropy_backward(ctx, logits.f32.view(), labels, kept.view(), scale,
                                          d.view());
      CHECK_CLOSE(d.view(), want, bound, key);
      View over = logits.f32.view();
      ops::softmax_cross_entropy_backward(ctx, over, labels, kept.view(), scale, over);
      for (Index i = 0; i < d.size(); ++i) ASSERT_EQ(d[i], logits.f32[i]) << key;
    }
  });
}

TEST(CrossEntropy, IsSafeForLargeLogitsAndZeroWeights) {
  const float inf = std::numeric_limits<float>::infinity();
  for_each_level([&](Context& ctx, const std::string& isa) {
    const Tensor logits = Tensor::from({2, 3}, {1e30F, 0, -1e30F, -inf, 5, 5});
    Tensor labels({2}, Dtype::i32);
    labels.data<std::int32_t>()[0] = 0;
    labels.data<std::int32_t>()[1] = 1;
    Tensor lse({2});
    const double loss = ops::softmax_cross_entropy_forward(ctx, logits, labels, lse);
    EXPECT_NEAR(loss, std::log(2.0) / 2, 4 * kUnit) << isa;
    Tensor d({2, 3});
    ops::softmax_cross_entropy_backward(ctx, logits, labels, lse, 1, d);
    const float want[] = {0, 0, 0, 0, -0.5F, 0.5F};
    // lse = 5 + ln 2 is rounded once: an argument error of 2^-22.
    for (Index i = 0; i < 6; ++i) EXPECT_NEAR(d.data<float>()[i], want[i], 0x1p-22) << isa;
  });
}

struct RopeCase {
  RopeLayout layout;
  Index pairs;
};
std::vector<RopeCase> rope_cases() {
  std::vector<RopeCase> cases;
  for (const RopeLayout layout : {RopeLayout::half, RopeLayout::interleaved}) {
    for (const Index pairs : {1, 3, 8, 15, 16, 17, 32, 40, 64}) cases.push_back({layout, pairs});
  }
  return cases;
}

// Elements of pair i of a head.
struct Pair {
  Index a, b;
};
Pair pair_at(const RopeCase& c, Index i) {
  return c.layout == RopeLayout::half ? Pair{i, i + c.pairs} : Pair{2 * i, 2 * i + 1};
}

constexpr Index kB = 2, kT = 5, kHeads = 3, kFirst = 4;

TEST(RopeKernels, TurnEveryPairOfAStridedView) {
  for_each_level([](Context& ctx, const std::string& isa) {
    for (const RopeCase& c : rope_cases()) {
      const Index d = 2 * c.pairs;
      const RopeConfig config = {.layout = c.layout,
                                 .yarn = YarnConfig{.scale = 4, .original_max_position = 8}};
      const ops::RopeTable table = ops::make_rope_table(kFirst + kT, d, config, Dtype::f32);
      const std::vector<double> theta = rope_frequencies(d, config);
      const double magnitude = rope_magnitude(config);
      Operand x({kB, kT, kHeads + 2, d}, 1);  // the first and last head stay as they are
      View part = x.f32.view().slice(2, 1, kHeads + 1);
      Tensor want = x.f64.clone();
      Tensor bound = Tensor::zeros(want.shape(), Dtype::f64);
      for (Index row = 0; row < kB * kT * (kHeads + 2); ++row) {
        const Index head = row % (kHeads + 2);
        if (head == 0 || head == kHeads + 1) continue;
        const auto position = static_cast<double>(kFirst + row / (kHeads + 2) % kT);
        for (Index i = 0; i < c.pairs; ++i) {
          const double angle = position * theta[static_cast<std::size_t>(i)];
          const Pair at = pair_at(c, i);
          const double a = x[row * d + at.a], b = x[row * d + at.b];
          want.data<double>()[row * d + at.a] =
              magnitude * (a * std::cos(angle) - b * std::sin(angle));
          want.data<double>()[row * d + at.b] =
              magnitude * (a * std::sin(angle) + b * std::cos(angle));
          // Table entry, product, sum: three roundings of either term.
          const double limit = 3 * kUnit * magnitude * (std::abs(a) + std::abs(b));
          bound.data<double>()[row * d + at.a] = limit;
          bound.data<double>()[row * d + at.b] = limit;
        }
      }
      ops::rope(ctx, table, kFirst, Direction::forward, part);
      CHECK_CLOSE(x.f32.view(), want, bound, problem("rope", kB * kT, d, isa));
    }
  });
}

TEST(RopeKernels, KeepNormsLeaveTheOriginAndTurnBack) {
  for_each_level([](Context& ctx, const std::string& isa) {
    for (const RopeCase& c : rope_cases()) {
      const Index d = 2 * c.pairs;
      const ops::RopeTable table = ops::make_rope_table(kT, d, {.layout = c.layout}, Dtype::f32);
      Operand x({kB, kT, kHeads, d}, 1);
      Guarded y({kB, kT, kHeads, d});
      copy(x.f32.view(), y.view());
      ops::rope(ctx, table, 0, Direction::forward, y.view());
      const std::string key = problem("rope", kB * kT, d, isa);
      for (Index row = 0; row < kB * kT * kHeads; ++row) {
        double before = 0, after = 0;
        for (Index i = row * d; i < (row + 1) * d; ++i) {
          before += x[i] * x[i];
          after += double{y[i]} * y[i];
          const bool origin = row / kHeads % kT == 0;
          ASSERT_TRUE(!origin || y[i] == x.f32[i]) << key << ": position 0";
        }
        // Each element is off by 3 u (|a| + |b|) <= 3 sqrt(2) u times its pair's norm.
        EXPECT_NEAR(after, before, 2 * 6 * kUnit * before * std::sqrt(2.0)) << key;
      }
      // The inverse of a rotation is its transpose: <R x, z> = <x, R^T z> follows from R^T R = 1.
      ops::rope(ctx, table, 0, Direction::backward, y.view());
      const Tensor bound = tabulate({kB, kT, kHeads, d}, [](Index) { return 12 * kUnit; });
      CHECK_CLOSE(y.view(), x.f64, bound, key);
    }
  });
}

}  // namespace
}  // namespace grouphead
