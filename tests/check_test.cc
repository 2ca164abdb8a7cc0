#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>

#include "ops/attention.h"
#include "support.h"
#include "testing/cases.h"
#include "testing/inputs.h"
#include "testing/isa.h"
#include "testing/oracle.h"

namespace grouphead::testing {
namespace {

using testing_support::isas_under_test;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

constexpr const char* kSmallProblems[] = {
    "attention.fwd f32 b2 t37 s53 hq6 hkv2 d20 dv12",
    "attention.fwd f32 b1 t19 s33 hq4 hkv1 d64 causal offset=14 thr=2",
    "attention.fwd f64 b1 t9 s5 hq2 hkv2 d3 causal",
    "attention.fwd f32 b1 t8 s5 hq2 hkv2 d8 causal offset=-3",
    "attention.fwdbwd f32 b2 t21 s33 hq6 hkv2 d20 dv12 thr=2",
    "attention.fwdbwd f32 b1 t40 hq4 hkv2 d64 causal",
    "decode f32 b2 s1057 hq6 hkv2 d64 dv40 thr=2",
    "decode f64 b1 s3 hq2 hkv1 d5",
    "decode f32 s64 hq16 hkv1 d8 cache=int8",
    "decode f32 s64 hq17 hkv1 d8 cache=int8",
    "decode f32 s64 hq17 hkv1 d8 cache=bf16",
    "decode f32 b3 s300 hq4 hkv2 d16 dv24 form=paged lengths thr=2",
    "decode f32 b2 s300 hq4 hkv2 d16 cache=int8 form=paged lengths",
    "decode f32 b2 s1300 hq4 hkv2 d16 form=ring window=100 thr=2",
    "decode f32 b2 s300 hq4 hkv2 d16 cache=int8 form=ring window=100",
    "decode f32 b2 s300 hq4 hkv2 d16 cache=bf16 window=70",
    "gemm f32 m33 n65 k129 thr=2",
    "gemm f32 m256 n256 k700 thr=2",
    "gemm f64 m3 n5 k7",
    "gemm f32 m1 n1 k1",
    "gemm f32 m1 n1100 k300 thr=2",
    "gemm f32 m33 n65 k129 weights=f32 thr=2",
    "gemm f32 m1 n1100 k700 weights=bf16 thr=2",
    "gemm f32 m130 n65 k129 weights=bf16",
    "gemm f32 m1 n1100 k700 weights=int8 thr=2",
    "gemm f32 m130 n65 k129 weights=int8",
    "layer.gqa.fwd f32 b2 t19 m24 hq6 hkv2 d12 thr=2",
    "layer.gqa.fwd f64 b1 t5 s9 m8 hq2 hkv1 d4",
    "layer.gqa.train f32 b2 t19 s33 m24 hq6 hkv2 d12 causal thr=2",
    "layer.mha.fwd f32 b2 t19 s33 m24 hq3 d12 causal",
    "layer.mha.train f32 b2 t40 m96 hq3 d32 thr=2",
    "layer.gqa.train bf16 b2 t40 m96 hq6 hkv2 d16 causal thr=2",
    "layer.mha.fwd bf16 b2 t19 s33 m24 hq3 d12",
    "lm.train f32 b2 t17 m32 f40 l2 hq4 hkv2 v19",
    "lm.generate f32 b2 t5 s3 m32 f40 l2 hq4 hkv2 v19",
    "lm.generate f32 b2 t5 s3 m32 f40 l2 hq4 hkv2 v19 weights=bf16",
    "lm.generate f32 b2 t5 s3 m32 f40 l2 hq4 hkv2 v19 weights=int8 thr=2",
};

TEST(Check, EveryOperationIsWithinItsBoundAtEveryLevel) {
  for (const Isa isa : isas_under_test()) {
    for (const char* text : kSmallProblems) {
      Problem problem = parse_problem(text);
      problem.isa = isa;
      Context ctx(context_options(problem));
      const std::vector<Comparison> results = make_case(ctx, problem, 1)->check();
      ASSERT_FALSE(results.empty());
      for (const Comparison& result : results) {
        EXPECT_TRUE(result.ok()) << result.to_string() << "\n  grouphead check \""
                                 << to_string(problem) << "\"";
        EXPECT_GE(result.worst, 0) << result.to_string();
      }
    }
  }
}

TEST(Check, RunsTakeTheInputSetsInTurn) {
  // After one run of three sets, the check is of the second set; it knows which inputs it had.
  for (const char* text : {"gemm m4 n4 k4", "attention.fwd t4 hq2 d8", "decode s20 hq2 d8",
                           "layer.gqa.train t4 m8 hq2 hkv1 d4"}) {
    Context ctx({.num_threads = 1});
    const std::unique_ptr<Case> job = make_case(ctx, parse_problem(text), 3);
    job->run();
    for (const Comparison& result : job->check()) EXPECT_TRUE(result.ok()) << result.to_string();
  }
}

TEST(Check, AForgottenKeyAWrongHeadAndAWrongScaleAreAboveTheBound) {
  Context ctx({.num_threads = 1});
  const Tensor q = random_tensor(ctx, {1, 64, 4, 32}, Dtype::f32, 1);
  const Tensor k = random_tensor(ctx, {1, 256, 2, 32}, Dtype::f32, 2);
  const Tensor v = random_tensor(ctx, {1, 256, 2, 32}, Dtype::f32, 3);
  const AttentionForwardOracle want = attention_forward_oracle(q, k, v, {});
  const Tensor bounds = bounds_of(want.out, Dtype::f32);
  Tensor out = ctx.tensor({1, 64, 4, 32});
  const auto count_above = [&] { return compare("out", out, want.out.value, bounds).num_above; };
  attention(ctx, q, k, v, {}, out);
  EXPECT_EQ(count_above(), 0);

  attention(ctx, q, k.view().slice(1, 0, 255), v.view().slice(1, 0, 255), {}, out);
  EXPECT_GT(count_above(), out.size() / 2);
  attention(ctx, q, k, v, {.scale = 1.01 / std::sqrt(32.0)}, out);
  EXPECT_GT(count_above(), out.size() / 2);
  // The last two heads share the last key/value head; here each has one to itself.
  attention(ctx, q, k, v, {}, out);
  attention(ctx, q.view().slice(2, 2, 4), k, v, {}, out.view().slice(2, 2, 4));
  EXPECT_GT(count_above(), out.size() / 5);
}

// A bound that lets a value be anything finds nothing.
TEST(Check, BoundsOfLongSumsAreBelowTheResults) {
  const double usual_size = 1 / std::sqrt(200000.0);  // of a mean of random values
  for (const char* text :
       {"decode f32 s200000 hq1 d4", "decode f32 s200000 hq1 d4 cache=bf16",
        "decode f32 s200000 hq1 d4 cache=int8", "attention.fwd bf16 t1 s200000 hq1 d4"}) {
    const Problem problem = parse_problem(text);
    Context ctx(context_options(problem));
    for (const Comparison& each : make_case(ctx, problem, 1)->check()) {
      EXPECT_TRUE(each.ok()) << text << ": " << each.to_string();
      if (each.what.starts_with("out")) {
        EXPECT_LT(each.bound, usual_size) << text << ": " << each.to_string();
      }
    }
  }
}

TEST(Compare, NamesTheWorstElement) {
  Tensor got = Tensor::from({2, 3}, {1, 2, 3, 4, 5, 6});
  const Tensor want = got.clone();
  EXPECT_TRUE(compare("y", got, want, 0).ok());
  got.data<float>()[4] = 5.5F;
  got.data<float>()[0] = 1.25F;
  const Comparison result = compare("y", got, want, 0.3);
  EXPECT_FALSE(result.ok());
  EXPECT_EQ(result.num_above, 1);
  EXPECT_EQ(result.to_string(),
            "y[1, 1]: got 5.5, want 5, error 5.00e-01, bound 3.00e-01, 1 of 6 above");
  // With one bound per element the worst is the one with the largest share of its own.
  Tensor bounds = Tensor::zeros({2, 3}, Dtype::f64);
  for (Index i = 0; i < 6; ++i) bounds.data<double>()[i] = 1;
  bounds.data<double>()[0] = 0.1;
  EXPECT_EQ(compare("y", got, want, bounds).worst, 0);
  EXPECT_THROW(compare("y", got, want.reshaped({3, 2}), 1.0), ShapeError);
}

TEST(Compare, InfinityAndNanAgreeOnlyWithThemselves) {
  const auto ok = [](double got, double want) {
    return compare("x", ConstView(&got, {1}), ConstView(&want, {1}), 1e300).ok();
  };
  EXPECT_TRUE(ok(kNan, kNan));
  EXPECT_TRUE(ok(kInfinity, kInfinity));
  EXPECT_FALSE(ok(kInfinity, -kInfinity));
  EXPECT_FALSE(ok(kInfinity, 1));
  EXPECT_FALSE(ok(1, -kInfinity));
  EXPECT_FALSE(ok(kNan, 1));
  EXPECT_FALSE(ok(1, kNan));
}

TEST(Compare, ABoundThatIsNotFiniteLetsOnlyEqualValuesPass) {
  for (const double bound : {kInfinity, kNan}) {
    const double value = 1;
    const double other = 2;
    EXPECT_TRUE(compare("x", ConstView(&value, {1}), ConstView(&value, {1}), bound).ok());
    EXPECT_FALSE(compare("x", ConstView(&value, {1}), ConstView(&other, {1}), bound).ok());
    EXPECT_FALSE(compare("x", ConstView(&value, {1}), ConstView(&kInfinity, {1}), bound).ok());
  }
}

TEST(Compare, TolerancesAreRelativeToTheLargestFiniteValue) {
  const double values[] = {-3, kInfinity, 2, kNan, -kInfinity};
  EXPECT_EQ(max_abs(ConstView(values, {5})), 3);
  EXPECT_EQ(max_abs(ConstView(values + 1, {1})), 0);
}

TEST(Compare, IntegersAreComparedExactly) {
  const Index want[] = {1, (Index{1} << 53) + 1, 3};
  const Index got[] = {1, Index{1} << 53, 3};
  EXPECT_TRUE(compare_exact("x", ConstView(want, {3}), ConstView(want, {3})).ok());
  const Comparison result = compare_exact("x", ConstView(got, {3}), ConstView(want, {3}));
  EXPECT_EQ(result.num_above, 1);
  EXPECT_EQ(result.worst, 1);
  EXPECT_GE(result.error, 1);
  EXPECT_THROW(compare_exact("x", ConstView(got, {3}), ConstView(want, {1, 3})), ShapeError);
}

TEST(Compare, NoElementsIsNoFailure) {
  const Comparison result = compare("x", Tensor({0, 3}), Tensor({0, 3}), 0);
  EXPECT_TRUE(result.ok());
  EXPECT_EQ(result.to_string(), "x[0, 3]: no elements");
}

TEST(CheckClose, ReportsTheProblemThatRerunsIt) {
  const Tensor want = Tensor::from({1}, {1.0F});
  const Tensor got = Tensor::from({1}, {2.0F});
  const ::testing::AssertionResult result =
      testing_support::is_close(got, want, 0.5, "gemm m1 n1 k1");
  EXPECT_FALSE(result);
  EXPECT_THAT(result.message(), ::testing::HasSubstr("result[0]: got 2, want 1"));
  EXPECT_THAT(result.message(), ::testing::HasSubstr("grouphead check \"gemm m1 n1 k1\""));
  CHECK_CLOSE(want, want, 0.0, "gemm m1 n1 k1");
}

TEST(Check, OneRunHasOneLevel) {
  const std::vector<Problem> mixed = {parse_problem("gemm m1 n1 k1 isa=ref"),
                                      parse_problem("gemm m1 n1 k1")};
  EXPECT_THROW(cap_onednn(mixed), ConfigError);
}

TEST(Inputs, AreAFunctionOfTheSeedAlone) {
  Context ctx({.num_threads = 1});
  const Tensor a = random_tensor(ctx, {70000}, Dtype::f32, 5);
  EXPECT_TRUE(compare("x", random_tensor(ctx, {70000}, Dtype::f64, 5), a, 0).ok());
  EXPECT_TRUE(compare("x", convert(ctx, a, Dtype::f64), a, 0).ok());
  EXPECT_FALSE(compare("x", random_tensor(ctx, {70000}, Dtype::f32, 6), a, 0).ok());
  double sum = 0;
  double squares = 0;
  for (Index i = 0; i < a.size(); ++i) {
    sum += static_cast<double>(a.data<float>()[i]);
    squares += static_cast<double>(a.data<float>()[i]) * static_cast<double>(a.data<float>()[i]);
  }
  EXPECT_NEAR(sum / 70000, 0, 0.02);
  EXPECT_NEAR(squares / 70000, 1, 0.03);
}

}  // namespace
}  // namespace grouphead::testing
