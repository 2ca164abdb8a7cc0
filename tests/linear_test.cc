#include <gtest/gtest.h>
#include <tbb/global_control.h>

#include <atomic>
#include <cmath>
#include <deque>
#include <limits>
#include <vector>

#include "linear_support.h"
#include "testing/product_oracle.h"

namespace grouphead {
namespace {

using namespace testing_support;  // NOLINT(google-build-using-namespace)
using ops::Epilogue;
using ops::Write;
using testing::product_oracle;
using Oracle = testing::ProductOracle;

/// Of f32 or f64.
std::vector<double> doubles(const Tensor& t) {
  const auto all = [&](const auto* x) { return std::vector<double>(x, x + t.size()); };
  return t.dtype() == Dtype::f32 ? all(t.data<float>()) : all(t.data<double>());
}

/// Adds `start`, or to each row a single one (a bias).
void add_start(Oracle& oracle, const Tensor& start) {
  const std::vector<double> added = doubles(start);
  for (std::size_t i = 0; i < oracle.value.size(); ++i) {
    const double value = added[i % added.size()];
    oracle.value[i] += value;
    oracle.magnitude[i] += std::abs(value);
  }
}

double epsilon_of(Dtype dtype) {
  return dtype == Dtype::f32 ? static_cast<double>(std::numeric_limits<float>::epsilon())
                             : std::numeric_limits<double>::epsilon();
}

/// Any order of `depth` fused or separate multiply-adds and two more additions is within
/// (depth + 3) * u * sum |terms| (Higham, Accuracy and Stability, section 3.1), u = epsilon / 2;
/// the factor (1 + ...) covers the second order. Double oracles of double results err as much
/// again.
void expect_close(const Tensor& got, const Oracle& want, Index depth, const std::string& what) {
  ASSERT_EQ(got.size(), static_cast<Index>(want.value.size())) << what;
  const double unit = static_cast<double>(depth + 3) * epsilon_of(got.dtype());
  const std::vector<double> values = doubles(got);
  double worst = 0;
  std::size_t worst_at = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const double bound = unit * want.magnitude[i] + std::numeric_limits<float>::denorm_min();
    const double ratio = std::abs(values[i] - want.value[i]) / bound;
    if (!(ratio <= worst)) {
      worst = ratio;
      worst_at = i;
    }
  }
  EXPECT_LE(worst, 1.0) << what << " element " << worst_at << ": got " << values[worst_at]
                        << ", want " << want.value[worst_at];
}

/// The operands of one problem, and what its products are: the same at all levels.
template <class F>
struct Products {
  explicit Products(const Size& size);

  Size s;
  Tensor x, w, bias, d_y, d_x_start, d_w_start, d_bias_start;
  Oracle y, y_with_bias, d_x, d_x_added, d_w, d_bias;
};

template <class F>
Products<F>::Products(const Size& size)
    : s(size),
      x(random_tensor<F>({s.m, s.k}, 1)),
      w(random_tensor<F>({s.k, s.n}, 2)),
      bias(random_tensor<F>({s.n}, 3)),
      d_y(random_tensor<F>({s.m, s.n}, 4)),
      d_x_start(random_tensor<F>({s.m, s.k}, 5)),
      d_w_start(random_tensor<F>({s.k, s.n}, 6)),
      d_bias_start(random_tensor<F>({s.n}, 7)) {
  const F* const rows = x.template data<F>();
  const F* const weights = w.template data<F>();
  const F* const d_rows = d_y.template data<F>();
  const F one = 1;
  y = product_oracle<F>(s.m, s.n, s.k, {rows, s.k, 1}, {weights, s.n, 1});
  y_with_bias = y;
  add_start(y_with_bias, bias);
  d_x = product_oracle<F>(s.m, s.k, s.n, {d_rows, s.n, 1}, {weights, 1, s.n});
  d_x_added = d_x;
  add_start(d_x_added, d_x_start);
  d_w = product_oracle<F>(s.k, s.n, s.m, {rows, 1, s.k}, {d_rows, s.n, 1});
  add_start(d_w, d_w_start);
  d_bias = product_oracle<F>(1, s.n, s.m, {&one, 0, 0}, {d_rows, s.n, 1});
  add_start(d_bias, d_bias_start);
}

template <class F>
void check_all_products(Context& ctx, const Products<F>& p) {
  const Size& s = p.s;
  const std::string what = key(s, ctx.isa()) + " " + std::string(name_of(kDtypeOf<F>));
  ops::PackedWeights packed;

  Tensor y({s.m, s.n}, kDtypeOf<F>);
  ops::linear_forward(ctx, p.x, p.w, packed, {}, Epilogue::none, y);
  expect_close(y, p.y, s.k, what + " forward");
  Tensor c({s.m, s.n}, kDtypeOf<F>);
  ops::gemm(ctx, p.x, p.w, c);
  expect_close(c, p.y, s.k, what + " gemm");
  ops::linear_forward(ctx, p.x, p.w, packed, p.bias, Epilogue::none, y);
  expect_close(y, p.y_with_bias, s.k, what + " forward with bias");

  Tensor d_x({s.m, s.k}, kDtypeOf<F>);
  ops::linear_backward_input(ctx, p.d_y, p.w, packed, Write::overwrite, d_x);
  expect_close(d_x, p.d_x, s.n, what + " d_x");
  copy(p.d_x_start, d_x);
  ops::linear_backward_input(ctx, p.d_y, p.w, packed, Write::add, d_x);
  expect_close(d_x, p.d_x_added, s.n, what + " d_x added");

  Tensor d_w = p.d_w_start.clone();
  Tensor d_bias = p.d_bias_start.clone();
  ops::linear_backward_weights(ctx, p.x, p.d_y, d_w, d_bias);
  expect_close(d_w, p.d_w, s.m, what + " d_w");
  expect_close(d_bias, p.d_bias, s.m, what + " d_bias");
}

std::vector<Size> all_sizes() {
  std::vector<Size> sizes;
  for (const Index m : {1, 2, 7, 15, 16, 17, 64}) {
    for (const Index k : {1, 2, 7, 16, 17, 64}) {
      for (const Index n : {1, 2, 15, 16, 17, 64}) sizes.push_back({m, k, n});
    }
  }
  for (const Size& s :
       {Size{0, 5, 7}, Size{3, 5, 0}, Size{1, 256, 300}, Size{1, 300, 256}, Size{100, 256, 300},
        Size{300, 100, 256}, Size{256, 300, 100}, Size{1024, 64, 100}, Size{100, 1024, 64},
        Size{1, 64, 1024}, Size{8, 1024, 100}, Size{1100, 17, 33}, Size{300, 256, 256}}) {
    sizes.push_back(s);
  }
  return sizes;
}

// Plain loops take longer than what they check, so each problem's serve all levels.
TEST(Linear, AllProductsMatchPlainLoopsInDouble) {
  std::deque<Context> levels;
  for (const Isa isa : isas_under_test()) {
    levels.emplace_back(ContextOptions{.num_threads = 2, .isa = isa});
  }
  for (const Size& s : all_sizes()) {
    const Products<float> products(s);
    for (Context& ctx : levels) check_all_products(ctx, products);
  }
}

TEST(Linear, DoublesMatchPlainLoops) {
  Context ctx({.num_threads = 2});
  for (const Size& s : all_sizes()) check_all_products(ctx, Products<double>(s));
}

TEST(Linear, EmptyDepthGivesTheBias) {
  for (const Isa isa : isas_under_test()) {
    Context ctx({.num_threads = 1, .isa = isa});
    const Tensor x({2, 0});
    const Tensor w({0, 3});
    const Tensor bias = Tensor::from({3}, {1.0F, 2.0F, 3.0F});
    Tensor y({2, 3});
    ops::PackedWeights packed;
    ops::linear_forward(ctx, x, w, packed, bias, Epilogue::none, y);
    EXPECT_TRUE(same_bits(y, Tensor::from({2, 3}, {1.0F, 2.0F, 3.0F, 1.0F, 2.0F, 3.0F})));
  }
}

/// |gelu'| < 1.13; an erf within 1.5e-7 (Abramowitz and Stegun 7.1.26, what vector libraries use)
/// moves x (1 + erf) / 2 by at most |x| 0.75e-7, and four more roundings follow.
template <class F>
void check_gelu(Context& ctx, const Size& s) {
  const Tensor x = random_tensor<F>({s.m, s.k}, 1);
  const Tensor w = random_tensor<F>({s.k, s.n}, 2);
  const Tensor bias = random_tensor<F>({s.n}, 3);
  Oracle want = product_oracle<F>(s.m, s.n, s.k, {x.data<F>(), s.k, 1}, {w.data<F>(), s.n, 1});
  add_start(want, bias);
  Tensor y({s.m, s.n}, kDtypeOf<F>);
  ops::PackedWeights packed;
  ops::linear_forward(ctx, x, w, packed, bias, Epilogue::gelu, y);
  const double epsilon = epsilon_of(kDtypeOf<F>);
  const double erf_error = kDtypeOf<F> == Dtype::f32 ? 0.75e-7 : 0;
  const std::vector<double> values = doubles(y);
  double worst = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const double v = want.value[i];
    const double bound = 1.13 * static_cast<double>(s.k + 3) * epsilon * want.magnitude[i] +
                         std::abs(v) * (erf_error + 4 * epsilon);
    const double error = std::abs(values[i] - v * (1 + std::erf(v / std::sqrt(2.0))) / 2);
    worst = std::max(worst, error / bound);
  }
  EXPECT_LE(worst, 1.0) << key(s, ctx.isa());
}

TEST(Linear, GeluFollowsTheBias) {
  for (const Isa isa : isas_under_test()) {
    Context ctx({.num_threads = 2, .isa = isa});
    for (const Size& s : {Size{1, 16, 64}, Size{7, 5, 17}, Size{300, 64, 256}, Size{1, 1, 1}}) {
      check_gelu<float>(ctx, s);
      check_gelu<double>(ctx, s);
    }
  }
}

/// Everything one problem computes, one tensor after the other.
std::vector<Tensor> run_all(Context& ctx, const Tensor& x, const Tensor& w, const Tensor& bias,
                            const Tensor& d_y) {
  ops::PackedWeights packed;
  std::vector<Tensor> out;
  for (const Epilogue epilogue : {Epilogue::none, Epilogue::gelu}) {
    out.emplace_back(d_y.shape());
    ops::linear_forward(ctx, x, w, packed, bias, epilogue, out.back());
  }
  out.emplace_back(x.shape());
  ops::linear_backward_input(ctx, d_y, w, packed, Write::overwrite, out.back());
  out.push_back(out.back().clone());
  ops::linear_backward_input(ctx, d_y, w, packed, Write::add, out.back());
  out.push_back(Tensor::zeros(w.shape()));
  out.push_back(Tensor::zeros(bias.shape()));
  ops::linear_backward_weights(ctx, x, d_y, out[4], out[5]);
  out.emplace_back(d_y.shape());
  ops::gemm(ctx, x, w, out.back());
  return out;
}

TEST(Linear, BitsDoNotDependOnThreads) {
  const tbb::global_control eight(tbb::global_control::max_allowed_parallelism, 8);
  for (const Isa isa : isas_under_test()) {
    for (const Size& s : {Size{1, 256, 1024}, Size{9, 64, 300}, Size{1100, 100, 256},
                          Size{515, 256, 64}, Size{2, 1024, 1024}}) {
      const Tensor x = random_tensor<float>({s.m, s.k}, 1);
      const Tensor w = random_tensor<float>({s.k, s.n}, 2);
      const Tensor bias = random_tensor<float>({s.n}, 3);
      const Tensor d_y = random_tensor<float>({s.m, s.n}, 4);
      Context one({.num_threads = 1, .isa = isa});
      const std::vector<Tensor> want = run_all(one, x, w, bias, d_y);
      for (const int threads : {2, 5}) {
        Context ctx({.num_threads = threads, .isa = isa});
        ASSERT_EQ(ctx.num_threads(), threads);
        const std::vector<Tensor> got = run_all(ctx, x, w, bias, d_y);
        for (std::size_t i = 0; i < want.size(); ++i) {
          EXPECT_TRUE(same_bits(got[i], want[i])) << key(s, isa) << " result " << i;
        }
      }
    }
  }
}

/// Rows [begin, end) of a matrix of random numbers, by view.
ConstView rows(const Tensor& t, Index begin, Index end) { return t.view().slice(0, begin, end); }

TEST(Linear, ARowDependsOnItsRowAlone) {
  const Index m = 600;
  for (const Isa isa : isas_under_test()) {
    Context ctx({.num_threads = 2, .isa = isa});
    for (const Size& s :
         {Size{m, 64, 64}, Size{m, 256, 256}, Size{m, 100, 300}, Size{m, 17, 33},
          Size{m, 1024, 256}, Size{m, 256, 1024}, Size{m, 1, 1}, Size{m, 3, 200}, Size{m, 200, 3},
          Size{m, 300, 1000}, Size{m, 48, 16}, Size{m, 384, 384}}) {
      const Tensor x = random_tensor<float>({m, s.k}, 1);
      const Tensor w = random_tensor<float>({s.k, s.n}, 2);
      const Tensor bias = random_tensor<float>({s.n}, 3);
      const Tensor d_y = random_tensor<float>({m, s.n}, 4);
      ops::PackedWeights packed;
      Tensor y({m, s.n});
      Tensor gelu({m, s.n});
      Tensor d_x({m, s.k});
      ops::linear_forward(ctx, x, w, packed, bias, Epilogue::none, y);
      ops::linear_forward(ctx, x, w, packed, {}, Epilogue::gelu, gelu);
      ops::linear_backward_input(ctx, d_y, w, packed, Write::overwrite, d_x);
      for (const Index part : {1, 2, 3, 7, 12, 16, 37, 64, 96, 256, 511}) {
        Tensor y_part({part, s.n});
        Tensor gelu_part({part, s.n});
        Tensor d_x_part({part, s.k});
        for (const Index first : {Index{0}, Index{5}, m - part}) {
          const ConstView xs = rows(x, first, first + part);
          ops::linear_forward(ctx, xs, w, packed, bias, Epilogue::none, y_part);
          ops::linear_forward(ctx, xs, w, packed, {}, Epilogue::gelu, gelu_part);
          ops::linear_backward_input(ctx, rows(d_y, first, first + part), w, packed,
                                     Write::overwrite, d_x_part);
          const auto same = [&](const Tensor& whole, const Tensor& piece) {
            return std::memcmp(rows(whole, first, first + part).raw(), piece.view().raw(),
                               static_cast<std::size_t>(piece.bytes())) == 0;
          };
          EXPECT_TRUE(same(y, y_part)) << key(s, isa) << " y of " << part << " rows";
          EXPECT_TRUE(same(gelu, gelu_part)) << key(s, isa) << " gelu of " << part << " rows";
          EXPECT_TRUE(same(d_x, d_x_part)) << key(s, isa) << " d_x of " << part << " rows";
        }
      }
    }
  }
}

TEST(Linear, WeightGradientsOfBlocksAddUp) {
  const Index m = 3 * 512 + 100;
  for (const Isa isa : isas_under_test()) {
    Context ctx({.num_threads = 2, .isa = isa});
    const Tensor x = random_tensor<float>({m, 48}, 1);
    const Tensor d_y = random_tensor<float>({m, 80}, 2);
    Tensor d_w = random_tensor<float>({48, 80}, 3);
    Tensor d_bias = random_tensor<float>({80}, 4);
    const Tensor d_w_start = d_w.clone();
    const Tensor d_bias_start = d_bias.clone();
    ops::linear_backward_weights(ctx, x, d_y, d_w, d_bias);
    for (const Index split : {512, 1024, 1536}) {
      Tensor d_w_parts = d_w_start.clone();
      Tensor d_bias_parts = d_bias_start.clone();
      ops::linear_backward_weights(ctx, rows(x, 0, split), rows(d_y, 0, split), d_w_parts,
                                   d_bias_parts);
      ops::linear_backward_weights(ctx, rows(x, split, m), rows(d_y, split, m), d_w_parts,
                                   d_bias_parts);
      EXPECT_TRUE(same_bits(d_w_parts, d_w)) << name_of(isa) << " split at " << split;
      EXPECT_TRUE(same_bits(d_bias_parts, d_bias)) << name_of(isa) << " split at " << split;
    }
  }
}

TEST(Linear, EitherWeightGradientMayBeAbsent) {
  Context ctx({.num_threads = 1});
  const Tensor x = random_tensor<float>({9, 4}, 1);
  const Tensor d_y = random_tensor<float>({9, 6}, 2);
  Tensor d_w = Tensor::zeros({4, 6});
  Tensor d_bias = Tensor::zeros({6});
  ops::linear_backward_weights(ctx, x, d_y, d_w, d_bias);
  Tensor d_w_alone = Tensor::zeros({4, 6});
  Tensor d_bias_alone = Tensor::zeros({6});
  ops::linear_backward_weights(ctx, x, d_y, d_w_alone, {});
  ops::linear_backward_weights(ctx, x, d_y, {}, d_bias_alone);
  EXPECT_TRUE(same_bits(d_w, d_w_alone));
  EXPECT_TRUE(same_bits(d_bias, d_bias_alone));
}

}  // namespace
}  // namespace grouphead
