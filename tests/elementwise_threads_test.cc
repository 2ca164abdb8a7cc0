// Any number of threads gives the same bits, and small calls allocate nothing.

#include <tbb/global_control.h>

#include <cstring>

#include "elementwise_fixture.h"
#include "ops/activation.h"
#include "ops/arithmetic.h"
#include "ops/dropout.h"
#include "ops/embedding.h"
#include "ops/linear.h"
#include "ops/loss.h"
#include "ops/normalization.h"
#include "ops/optimizer.h"
#include "ops/rope.h"

namespace grouphead {
namespace {

using namespace testing_support;  // NOLINT(google-build-using-namespace)
using ops::Direction;
using ops::Write;

constexpr Index kThreadRows = 700, kWidth = 256, kThreadHeads = 4;

Tensor numbers(std::uint64_t seed) {
  Tensor x({kThreadRows, kWidth});
  for (Index i = 0; i < x.size(); ++i) {
    x.data<float>()[i] = static_cast<float>(uniform_at(seed, i, -2, 2));
  }
  return x;
}
Tensor indices(std::uint64_t seed) {
  Tensor x({kThreadRows}, Dtype::i32);
  for (Index i = 0; i < kThreadRows; ++i) {
    x.data<std::int32_t>()[i] = static_cast<std::int32_t>(uniform_at(seed, i, 0, kWidth));
  }
  return x;
}
Tensor of_double(double value) {
  Tensor x({1}, Dtype::f64);
  x.data<double>()[0] = value;
  return x;
}

// One result of every operation.
std::vector<Tensor> run_all(Context& ctx) {
  const Tensor x = numbers(1), d_y = numbers(2);
  const Tensor row = Tensor::from({kWidth}, std::span(d_y.data<float>(), kWidth));
  const Tensor labels = indices(4);
  std::vector<Tensor> out;
  const auto make = [&](const Shape& shape) -> Tensor& {
    out.push_back(Tensor::zeros(shape));
    return out.back();
  };
  const Shape all = {kThreadRows, kWidth};
  Tensor mean({kThreadRows}), rstd({kThreadRows});
  ops::layer_norm_forward(ctx, x, row, row, 1e-3, make(all), mean, rstd);
  Tensor d_gamma = Tensor::zeros({kWidth}), d_beta = Tensor::zeros({kWidth});
  ops::layer_norm_backward(ctx, x, row, mean, rstd, d_y, Write::overwrite, make(all), d_gamma,
                           d_beta);
  out.insert(out.end(), {mean, rstd, d_gamma, d_beta});
  ops::gelu_forward(ctx, x, make(all));
  ops::gelu_backward(ctx, x, d_y, make(all));
  ops::add(ctx, x, d_y, make(all));
  ops::scale(ctx, x, 0.7, make(all));
  ops::dropout(ctx, x, 0.1, {RandomAlgorithm::philox, {1, 2}}, Dtype::f32, make(all));
  ops::dropout(ctx, x, 0.1, {RandomAlgorithm::threefry, {1, 2}}, Dtype::f32, make(all));
  ops::embedding_forward(ctx, labels, x, make(all));
  ops::embedding_backward(ctx, labels, d_y, make(all));
  Tensor turned = x.clone();
  const ops::RopeTable table =
      ops::make_rope_table(kThreadRows, kWidth / kThreadHeads, {}, Dtype::f32);
  ops::rope(ctx, table, 0, Direction::forward,
            turned.view().reshaped({1, kThreadRows, kThreadHeads, kWidth / kThreadHeads}));
  Tensor lse({kThreadRows});
  out.push_back(of_double(ops::softmax_cross_entropy_forward(ctx, x, labels, lse)));
  ops::softmax_cross_entropy_backward(ctx, x, labels, lse, 0.1, make(all));
  out.push_back(of_double(ops::sum_of_squares(ctx, x)));
  Tensor w = x.clone(), m = Tensor::zeros(all), v = Tensor::zeros(all);
  ops::adamw(ctx, {0.01 * 0.1, 0.01, 0.9, 0.999, 1e-7, 1}, d_y, w, m, v);
  out.insert(out.end(), {turned, lse, w, m, v});
  return out;
}

TEST(ElementwiseThreads, DoNotChangeABit) {
  const tbb::global_control eight(tbb::global_control::max_allowed_parallelism, 8);
  for (const Isa isa : isas_under_test()) {
    Context one({.num_threads = 1, .isa = isa});
    const std::vector<Tensor> want = run_all(one);
    for (const int threads : {2, 5}) {
      Context ctx({.num_threads = threads, .isa = isa});
      ASSERT_EQ(ctx.num_threads(), threads);
      const std::vector<Tensor> got = run_all(ctx);
      ASSERT_EQ(got.size(), want.size());
      for (std::size_t i = 0; i < want.size(); ++i) {
        EXPECT_EQ(std::memcmp(got[i].view().raw(), want[i].view().raw(),
                              static_cast<std::size_t>(want[i].bytes())),
                  0)
            << name_of(isa) << " result " << i << " with " << threads << " threads";
      }
    }
  }
}

// Splits of a batch: rows on their own give the same rows, and parameter gradients of parts that
// end on a block of 64 rows add up to the same bits.
TEST(ElementwiseBatches, SplitWithoutChangingABit) {
  const Tensor x = numbers(1), d_y = numbers(2);
  const Tensor gamma = Tensor::from({kWidth}, std::span(d_y.data<float>(), kWidth));
  for_each_level([&](Context& ctx, const std::string& isa) {
    Tensor y({kThreadRows, kWidth}), mean({kThreadRows}), rstd({kThreadRows}),
        d_x({kThreadRows, kWidth});
    Tensor d_gamma = Tensor::zeros({kWidth}), d_beta = Tensor::zeros({kWidth});
    ops::layer_norm_forward(ctx, x, gamma, gamma, 1e-3, y, mean, rstd);
    ops::layer_norm_backward(ctx, x, gamma, mean, rstd, d_y, Write::overwrite, d_x, d_gamma,
                             d_beta);
    Tensor y_2({kThreadRows, kWidth}), d_x_2({kThreadRows, kWidth});
    Tensor d_gamma_2 = Tensor::zeros({kWidth}), d_beta_2 = Tensor::zeros({kWidth});
    for (const Index begin : {0, 64, 320}) {
      const Index end = begin == 0 ? 64 : begin == 64 ? 320 : kThreadRows;
      const auto part = [&](auto&& tensor) { return tensor.view().slice(0, begin, end); };
      ops::layer_norm_forward(ctx, part(x), gamma, gamma, 1e-3, part(y_2), {}, {});
      ops::layer_norm_backward(ctx, part(x), gamma, part(mean), part(rstd), part(d_y),
                               Write::overwrite, part(d_x_2), d_gamma_2, d_beta_2);
    }
    const auto same = [](const Tensor& a, const Tensor& b) {
      return std::memcmp(a.view().raw(), b.view().raw(), static_cast<std::size_t>(a.bytes())) == 0;
    };
    EXPECT_TRUE(same(y, y_2)) << isa;
    EXPECT_TRUE(same(d_x, d_x_2)) << isa;
    EXPECT_TRUE(same(d_gamma, d_gamma_2)) << isa;
    EXPECT_TRUE(same(d_beta, d_beta_2)) << isa;
  });
}

TEST(ElementwiseDecode, TakesNoMemoryFromTheContext) {
  Context ctx({.num_threads = 2});
  const Tensor x = numbers(1);
  const ConstView row = x.view().slice(0, 0, 1);
  Tensor y({1, kWidth});
  const ops::RopeTable table = ops::make_rope_table(8, kWidth / kThreadHeads, {}, Dtype::f32);
  const Tensor token = Tensor::zeros({1}, Dtype::i32);
  ops::embedding_forward(ctx, token, x, y);
  ops::layer_norm_forward(ctx, row, row, row, 1e-3, y, {}, {});
  ops::gelu_forward(ctx, row, y);
  ops::add(ctx, row, y, y);
  ops::rope(ctx, table, 7, Direction::forward,
            y.view().reshaped({1, 1, kThreadHeads, kWidth / kThreadHeads}));
  EXPECT_EQ(ctx.memory().peak_bytes, 0);
}

}  // namespace
}  // namespace grouphead
