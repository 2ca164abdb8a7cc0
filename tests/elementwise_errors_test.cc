// What the elementwise operations refuse, and what they do with NaN.

#include <gmock/gmock.h>

#include <limits>

#include "elementwise_fixture.h"
#include "ops/activation.h"
#include "ops/arithmetic.h"
#include "ops/dropout.h"
#include "ops/embedding.h"
#include "ops/linear.h"
#include "ops/loss.h"
#include "ops/normalization.h"
#include "ops/optimizer.h"

namespace grouphead {
namespace {

using namespace testing_support;  // NOLINT(google-build-using-namespace)
using ops::Write;
using ::testing::HasSubstr;

template <class Call>
std::string refusal(const Call& call) {
  try {
    call();
  } catch (const ShapeError& error) {
    return error.what();
  }
  return "no ShapeError";
}

Tensor index_tensor(std::initializer_list<std::int32_t> values) {
  Tensor x({static_cast<Index>(values.size())}, Dtype::i32);
  std::copy(values.begin(), values.end(), x.data<std::int32_t>());
  return x;
}

TEST(ElementwiseErrors, NameTheOperand) {
  Context ctx({.num_threads = 1});
  Tensor x = Tensor::zeros({2, 4}), y = Tensor::zeros({2, 4}), other = Tensor::zeros({2, 5});
  Tensor gain = Tensor::zeros({4}), wide = Tensor::zeros({2, 4}, Dtype::f64), rows({2});
  const View columns = x.view().slice(1, 0, 2);
  EXPECT_THAT(refusal([&] { ops::add(ctx, x, other, y); }), HasSubstr("[add] b: expected 8"));
  EXPECT_THAT(refusal([&] { ops::add(ctx, x, wide, y); }), HasSubstr("[add] b: expected f32"));
  EXPECT_THAT(refusal([&] { ops::add(ctx, columns, columns, columns); }),
              HasSubstr("[add] a: expected contiguous"));
  EXPECT_THAT(refusal([&] { ops::gelu_forward(ctx, x, other); }), HasSubstr("[gelu] x"));
  EXPECT_THAT(refusal([&] { ops::gelu_backward(ctx, x, other, y); }), HasSubstr("d_y"));
  EXPECT_THAT(refusal([&] { ops::scale(ctx, index_tensor({1}), 2, y); }), HasSubstr("f32 or f64"));
  EXPECT_THAT(refusal([&] { ops::layer_norm_forward(ctx, x, other, gain, 1, y, {}, {}); }),
              HasSubstr("[layer_norm] gamma: expected 4 elements, got [2, 5]"));
  EXPECT_THAT(refusal([&] { ops::layer_norm_forward(ctx, x, gain, {}, 1, y, {}, {}); }),
              HasSubstr("beta: expected 4 elements, got nothing"));
  EXPECT_THAT(refusal([&] { ops::layer_norm_forward(ctx, x, gain, gain, 1, y, gain, {}); }),
              HasSubstr("mean"));
  EXPECT_THAT(refusal([&] {
                ops::layer_norm_backward(ctx, x, gain, rows, rows, other, Write::add, y, {}, {});
              }),
              HasSubstr("[layer_norm_backward] d_y"));
  EXPECT_THAT(refusal([&] {
                ops::layer_norm_backward(ctx, x, gain, rows, rows, x, Write::add, y, rows, {});
              }),
              HasSubstr("[layer_norm_backward] d_gamma"));
  EXPECT_THAT(refusal([&] { ops::adamw(ctx, {}, x, y, other, y); }), HasSubstr("[adamw] m"));
  EXPECT_THROW(ops::dropout(ctx, x, 1.1, {}, Dtype::f32, y), ConfigError);
  EXPECT_THROW(ops::dropout(ctx, x, -0.1, {}, Dtype::f32, y), ConfigError);
  EXPECT_THROW(ops::dropout(ctx, x, std::nan(""), {}, Dtype::f32, y), ConfigError);
}

TEST(ElementwiseErrors, BadTokensAndLabelsChangeNothing) {
  Context ctx({.num_threads = 1});
  const Tensor table = Tensor::from({2, 2}, {1, 2, 3, 4});
  Tensor y = Tensor::zeros({3, 2});
  for (const std::int32_t bad : {-1, 2, std::numeric_limits<std::int32_t>::min()}) {
    const Tensor tokens = index_tensor({0, 1, bad});
    EXPECT_THAT(refusal([&] { ops::embedding_forward(ctx, tokens, table, y); }),
                HasSubstr("[embedding] tokens: expected indices below 2, got " +
                          std::to_string(bad) + " at 2"));
    Tensor d_table = Tensor::zeros({2, 2});
    EXPECT_THROW(ops::embedding_backward(ctx, tokens, y, d_table), ShapeError);
    const Tensor logits = Tensor::zeros({3, 2});
    EXPECT_THAT(refusal([&] { ops::softmax_cross_entropy_forward(ctx, logits, tokens, {}); }),
                HasSubstr("labels"));
    const Tensor lse = Tensor::zeros({3});
    EXPECT_THROW(ops::softmax_cross_entropy_backward(ctx, logits, tokens, lse, 1, y), ShapeError);
  }
  for (Index i = 0; i < y.size(); ++i) EXPECT_EQ(y.data<float>()[i], 0.0F);
  EXPECT_THROW(ops::embedding_forward(ctx, Tensor::zeros({3}), table, y), ShapeError);
}

TEST(ElementwiseNan, StaysInItsRowAndReachesWhatUsesIt) {
  constexpr Index kWidth = 37;
  for_each_level([](Context& ctx, const std::string& isa) {
    for (Index place = 0; place < kWidth; ++place) {
      Operand x({3, kWidth}, 1), gain({kWidth}, 2);
      const Index bad = kWidth + place;
      x.set(bad, std::nan(""));
      Guarded y({3, kWidth}), mean({3}), rstd({3}), d_x({3, kWidth}), d({kWidth}), e({kWidth});
      ops::layer_norm_forward(ctx, x.f32.view(), gain.f32.view(), gain.f32.view(), 1e-3, y.view(),
                              mean.view(), rstd.view());
      fill_zero(d.view());
      fill_zero(e.view());
      ops::layer_norm_backward(ctx, x.f32.view(), gain.f32.view(), mean.view(), rstd.view(),
                               x.f32.view(), Write::overwrite, d_x.view(), d.view(), e.view());
      for (Index i = 0; i < y.size(); ++i) {
        ASSERT_EQ(std::isnan(y[i]), i / kWidth == 1) << isa;
        ASSERT_EQ(std::isnan(d_x[i]), i / kWidth == 1) << isa;
      }
      EXPECT_TRUE(std::isnan(d[place]) && std::isnan(e[place])) << isa;
      EXPECT_TRUE(std::isnan(ops::sum_of_squares(ctx, x.f32.view()))) << isa;

      const Tensor labels = index_tensor({0, 1, 2});
      const double loss =
          ops::softmax_cross_entropy_forward(ctx, x.f32.view(), labels, mean.view());
      EXPECT_TRUE(std::isnan(loss)) << isa;
      EXPECT_FALSE(std::isnan(mean[0]) || std::isnan(mean[2])) << isa;
      EXPECT_TRUE(std::isnan(mean[1])) << isa;

      ops::gelu_forward(ctx, x.f32.view(), y.view());
      ops::gelu_backward(ctx, x.f32.view(), y.view(), d_x.view());
      for (Index i = 0; i < y.size(); ++i) {
        ASSERT_EQ(std::isnan(y[i]), i == bad) << isa;
        ASSERT_EQ(std::isnan(d_x[i]), i == bad) << isa;
      }
    }
  });
}

TEST(ElementwiseEmpty, NothingIsFine) {
  for_each_level([](Context& ctx, const std::string&) {
    Tensor none({0, 4}), gain = Tensor::zeros({4}), rows({0}), d = Tensor::zeros({4});
    ops::layer_norm_forward(ctx, none, gain, gain, 1e-3, none, rows, rows);
    ops::layer_norm_backward(ctx, none, gain, rows, rows, none, Write::add, none, d, d);
    ops::gelu_forward(ctx, none, none);
    ops::add(ctx, none, none, none);
    EXPECT_EQ(ops::sum_of_squares(ctx, none), 0.0);
    for (Index i = 0; i < 4; ++i) EXPECT_EQ(d.data<float>()[i], 0.0F);
    const Tensor labels({0}, Dtype::i32);
    EXPECT_TRUE(std::isnan(ops::softmax_cross_entropy_forward(ctx, none, labels, {})));
  });
}

}  // namespace
}  // namespace grouphead
