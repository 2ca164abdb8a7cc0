#include <gmock/gmock.h>

#include <string>
#include <vector>

#include "attention_support.h"
#include "kernels/attention/problem.h"

namespace grouphead {
namespace {

using testing_support::attention_cases;
using testing_support::AttentionCase;
using testing_support::AttentionInputs;
using testing_support::AttentionResults;
using testing_support::isas_under_test;
using testing_support::make_inputs;
using testing_support::ManyThreads;
using testing_support::run_backward;
using testing_support::run_forward;
using testing_support::same_bits;
using testing_support::Strided;

void expect_oracle(const AttentionCase& c, Dtype dtype, const std::vector<Isa>& isas) {
  const AttentionInputs in = make_inputs(c, dtype);
  const auto want = testing::attention_backward_oracle(in.q, in.k, in.v, in.d_out, c.options());
  for (const Isa isa : isas) {
    Context ctx({.num_threads = 2, .isa = isa});
    const std::string key = c.key("attention.fwdbwd", dtype, isa);
    AttentionResults got;
    run_forward(ctx, c, in, got);
    run_backward(ctx, c, in, got);
    CHECK_CLOSE(got.d_q, want.d_q.value, bounds_of(want.d_q, dtype), "d_q of " + key);
    CHECK_CLOSE(got.d_k, want.d_k.value, bounds_of(want.d_k, dtype), "d_k of " + key);
    CHECK_CLOSE(got.d_v, want.d_v.value, bounds_of(want.d_v, dtype), "d_v of " + key);
  }
}

TEST(AttentionBackward, EveryLevelAgreesWithTheOracle) {
  for (const AttentionCase& c : attention_cases()) expect_oracle(c, Dtype::f32, isas_under_test());
}

TEST(AttentionBackward, DoublesAgreeWithTheOracle) {
  for (const AttentionCase& c : attention_cases()) expect_oracle(c, Dtype::f64, {Isa::ref});
}

void expect_same_gradients(const AttentionResults& a, const AttentionResults& b,
                           const std::string& what) {
  EXPECT_TRUE(same_bits(a.d_q, b.d_q)) << what;
  EXPECT_TRUE(same_bits(a.d_k, b.d_k)) << what;
  EXPECT_TRUE(same_bits(a.d_v, b.d_v)) << what;
}

// One head has fewer units in flight than threads, so tiles of keys follow each other; many heads
// run without meeting.
TEST(AttentionBackward, AnyNumberOfThreadsGivesTheSameBits) {
  const ManyThreads many;
  for (const AttentionCase& c : {AttentionCase{1, 200, 500, 2, 1, 24, 24, true, 300},
                                 {1, 600, 500, 1, 1, 40, 24, true, 0},
                                 {2, 70, 230, 6, 3, 24, 40, false, 0}}) {
    const AttentionInputs in = make_inputs(c, Dtype::f32);
    for (const Isa isa : isas_under_test()) {
      AttentionResults first;
      for (const int count : ManyThreads::kCounts) {
        Context ctx({.num_threads = count, .isa = isa});
        for (int call = 0; call < 2; ++call) {
          AttentionResults got;
          run_forward(ctx, c, in, got);
          run_backward(ctx, c, in, got);
          if (!first.d_q.has_value()) first = got;
          expect_same_gradients(
              got, first,
              c.key("attention.fwdbwd", Dtype::f32, isa) + " thr=" + std::to_string(count));
        }
      }
    }
  }
}

// The blocks of rows that each tile of keys meets, against what each query sees.
TEST(AttentionBackward, BlocksAreWalkedByTheTilesThatTheySee) {
  using kernels::kGradientKeys;
  using kernels::kGradientRows;
  for (const Index S : {1, 100, 192, 1000}) {
    for (const Index window : {0, 1, 64, 500}) {
      for (const Index offset : {0, -700, 300, 5000}) {
        kernels::AttentionProblem<double> p;
        p.B = 1, p.T = 400, p.S = S, p.Hq = 3, p.Hkv = 1;
        p.causal = true, p.causal_offset = offset, p.window_left = window - 1;
        std::vector<Index> walks(static_cast<std::size_t>(kernels::gradient_blocks(p)));
        for (Index tile = 0; tile < kernels::gradient_tiles(p); ++tile) {
          const auto [begin, end] = kernels::gradient_blocks_of_tile(p, tile);
          for (Index block = 0; block < kernels::gradient_blocks(p); ++block) {
            const bool walked = begin <= block && block < end;
            walks[static_cast<std::size_t>(block)] += walked ? 1 : 0;
            bool sees = false;
            const Index last = std::min((block + 1) * kGradientRows, p.rows());
            for (Index r = block * kGradientRows; r < last; ++r) {
              const Index first = std::max(p.begin(r), tile * kGradientKeys);
              sees = sees || first < std::min(p.limit(r), (tile + 1) * kGradientKeys);
            }
            EXPECT_TRUE(walked || !sees) << S << " " << window << " " << offset << " " << tile;
          }
        }
        for (const Index count : walks) {
          EXPECT_GE(count, 1);
          const Index most = window == 0 ? S : window + kGradientRows + kGradientKeys;
          EXPECT_LE(count, kernels::ceil_div(most, kGradientKeys) + 1);
        }
      }
    }
  }
}

TEST(AttentionBackward, StridedAndMisalignedOperandsGiveTheSameBitsAndKeepTheirSurroundings) {
  for (const AttentionCase& c :
       {AttentionCase{2, 37, 53, 6, 2, 40, 72, true, 3}, {1, 19, 18, 3, 3, 5, 1, false, 0}}) {
    const AttentionInputs in = make_inputs(c, Dtype::f32);
    for (const Isa isa : isas_under_test()) {
      Context ctx({.num_threads = 2, .isa = isa});
      AttentionResults dense;
      run_forward(ctx, c, in, dense);
      run_backward(ctx, c, in, dense);
      Strided q(in.q), k(in.k), v(in.v), out(dense.out), d_out(in.d_out);
      Strided d_q(in.q.shape(), Dtype::f32), d_k(in.k.shape(), Dtype::f32),
          d_v(in.v.shape(), Dtype::f32);
      attention_backward(
          ctx, q.view(), k.view(), v.view(), c.options(), out.view(), dense.softmax,
          {.d_out = d_out.view(), .d_q = d_q.view(), .d_k = d_k.view(), .d_v = d_v.view()});
      AttentionResults got;
      got.d_q = d_q.dense();
      got.d_k = d_k.dense();
      got.d_v = d_v.dense();
      expect_same_gradients(got, dense, c.key("attention.fwdbwd", Dtype::f32, isa));
      for (Strided* each : {&d_q, &d_k, &d_v}) EXPECT_TRUE(each->guards_are_intact());
    }
  }
}

TEST(AttentionBackward, AZeroUpstreamGradientGivesZeroGradients) {
  const AttentionCase c{1, 30, 40, 2, 1, 24, 8, true, 5};
  AttentionInputs in = make_inputs(c, Dtype::f32);
  fill_zero(in.d_out);
  for (const Isa isa : isas_under_test()) {
    Context ctx({.num_threads = 2, .isa = isa});
    AttentionResults got;
    run_forward(ctx, c, in, got);
    run_backward(ctx, c, in, got);
    for (const Tensor* each : {&got.d_q, &got.d_k, &got.d_v}) {
      EXPECT_EQ(testing::max_abs(*each), 0) << name_of(isa);
    }
  }
}

// Queries 0 .. 9 see no key; keys 20 and up are seen by no query.
TEST(AttentionBackward, WhatIsNotSeenHasZeroGradients) {
  const AttentionCase c{1, 30, 40, 2, 1, 24, 8, true, -10};
  const AttentionInputs in = make_inputs(c, Dtype::f32);
  for (const Isa isa : isas_under_test()) {
    Context ctx({.num_threads = 2, .isa = isa});
    AttentionResults got;
    run_forward(ctx, c, in, got);
    run_backward(ctx, c, in, got);
    const auto largest = [](Tensor& x, Index begin, Index end) {
      Tensor part({x.dim(0), end - begin, x.dim(2), x.dim(3)});
      copy(x.view().slice(1, begin, end), part);
      return testing::max_abs(part);
    };
    EXPECT_EQ(largest(got.d_q, 0, 10), 0);
    EXPECT_GT(largest(got.d_q, 11, 12), 0);
    EXPECT_EQ(largest(got.d_k, 20, 40), 0);
    EXPECT_EQ(largest(got.d_v, 20, 40), 0);
    EXPECT_GT(largest(got.d_v, 19, 20), 0);
  }
}

TEST(AttentionBackward, NoKeysNoQueriesOrNoBatchGiveZeros) {
  for (const AttentionCase& c :
       {AttentionCase{2, 5, 0, 4, 2, 8, 24}, {1, 0, 7, 2, 1, 8, 8}, {0, 3, 7, 2, 1, 8, 8}}) {
    for (const Dtype dtype : {Dtype::f32, Dtype::f64}) {
      const AttentionInputs in = make_inputs(c, dtype);
      Context ctx({.num_threads = 2});
      AttentionResults got;
      run_forward(ctx, c, in, got);
      run_backward(ctx, c, in, got);
      for (const Tensor* each : {&got.d_q, &got.d_k, &got.d_v}) {
        EXPECT_EQ(testing::max_abs(*each), 0);
      }
    }
  }
}

// L = sum out d_out.
double loss_of(Context& ctx, const AttentionCase& c, const AttentionInputs& in) {
  AttentionResults r;
  run_forward(ctx, c, in, r);
  double loss = 0;
  for (Index i = 0; i < r.out.size(); ++i) {
    loss += r.out.data<double>()[i] * in.d_out.data<double>()[i];
  }
  return loss;
}

// Differences of fourth order, (8 (L(h) - L(-h)) - (L(2h) - L(-2h))) / 12 h. With h = 2^-9 their
// error is h^4 / 30 times a fifth derivative, below 100 here, plus 1.5 u |L| / h.
void expect_differences(Context& ctx, const AttentionCase& c, const AttentionInputs& in,
                        const Tensor& gradient, double* values, const char* name) {
  constexpr double kStep = 0x1p-9;
  const double bound = kStep * kStep * kStep * kStep / 30 * 100 + 1.5 * 0x1p-53 * 100 / kStep;
  for (Index i = 0; i < gradient.size(); ++i) {
    const double here = values[i];
    const auto loss_at = [&](double x) {
      values[i] = here + x;
      return loss_of(ctx, c, in);
    };
    const double want =
        (8 * (loss_at(kStep) - loss_at(-kStep)) - (loss_at(2 * kStep) - loss_at(-2 * kStep))) /
        (12 * kStep);
    values[i] = here;
    EXPECT_NEAR(gradient.data<double>()[i], want, bound) << name << "[" << i << "]";
  }
}

TEST(AttentionBackward, DoublesAgreeWithCentralDifferences) {
  for (const AttentionCase& c : {AttentionCase{1, 4, 5, 4, 2, 3, 2, false, 0},
                                 {2, 3, 6, 2, 1, 2, 3, true, 2},
                                 {1, 6, 4, 1, 1, 2, 2, true, -2}}) {
    AttentionInputs in = make_inputs(c, Dtype::f64);
    Context ctx({.num_threads = 1});
    AttentionResults got;
    run_forward(ctx, c, in, got);
    run_backward(ctx, c, in, got);
    expect_differences(ctx, c, in, got.d_q, in.q.data<double>(), "d_q");
    expect_differences(ctx, c, in, got.d_k, in.k.data<double>(), "d_k");
    expect_differences(ctx, c, in, got.d_v, in.v.data<double>(), "d_v");
  }
}

TEST(AttentionBackward, BadOperandsAreNamed) {
  Context ctx({.num_threads = 1});
  const Tensor q({2, 3, 4, 8}), k({2, 5, 2, 8}), v({2, 5, 2, 6}), out({2, 3, 4, 6});
  const Tensor softmax({2, 2, 4, 3});
  const auto call = [&](ConstView some_softmax, View d_q, View d_v) -> std::string {
    Tensor d_k({2, 5, 2, 8});
    try {
      attention_backward(ctx, q, k, v, {}, out, some_softmax,
                         {.d_out = out, .d_q = d_q, .d_k = d_k, .d_v = d_v});
    } catch (const ShapeError& error) {
      return error.what();
    }
    return "no error";
  };
  Tensor d_q({2, 3, 4, 8}), d_v({2, 5, 2, 6});
  EXPECT_EQ(call({}, d_q, d_v),
            "[attention_backward] statistics: expected [2, 2, 4, 3], got nothing");
  EXPECT_EQ(call(softmax, d_v, d_v),
            "[attention_backward] d_q: expected [2, 3, 4, 8], got [2, 5, 2, 6]");
  EXPECT_EQ(call(softmax, d_q, d_q),
            "[attention_backward] d_v: expected [2, 5, 2, 6], got [2, 3, 4, 8]");
}

}  // namespace
}  // namespace grouphead
