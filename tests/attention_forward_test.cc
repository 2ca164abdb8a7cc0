#include <gmock/gmock.h>

#include <atomic>
#include <chrono>
#include <cmath>
#include <limits>
#include <mutex>
#include <set>
#include <thread>

#include "attention_support.h"
#include "core/context_impl.h"

namespace grouphead {
namespace {

using testing_support::attention_cases;
using testing_support::AttentionCase;
using testing_support::AttentionInputs;
using testing_support::AttentionResults;
using testing_support::isas_under_test;
using testing_support::make_inputs;
using testing_support::ManyThreads;
using testing_support::run_forward;
using testing_support::same_bits;
using testing_support::Strided;

void expect_forward_oracle(const AttentionCase& c, Dtype dtype, const std::vector<Isa>& isas) {
  const AttentionInputs in = make_inputs(c, dtype);
  const auto want = testing::attention_forward_oracle(in.q, in.k, in.v, c.options());
  const Tensor out_bounds = bounds_of(want.out, dtype);
  const Tensor lse_bounds = bounds_of(want.lse, dtype);
  for (const Isa isa : isas) {
    Context ctx({.num_threads = 2, .isa = isa});
    AttentionResults got;
    run_forward(ctx, c, in, got);
    CHECK_CLOSE(got.out, want.out.value, out_bounds, c.key("attention.fwd", dtype, isa));
    CHECK_CLOSE(got.lse, want.lse.value, lse_bounds, c.key("attention.fwd", dtype, isa));
  }
}

TEST(AttentionForward, EveryLevelAgreesWithTheOracle) {
  for (const AttentionCase& c : attention_cases())
    expect_forward_oracle(c, Dtype::f32, isas_under_test());
}

TEST(AttentionForward, DoublesAgreeWithTheOracle) {
  for (const AttentionCase& c : attention_cases()) expect_forward_oracle(c, Dtype::f64, {Isa::ref});
}

TEST(AttentionForward, StridedAndMisalignedOperandsGiveTheSameBitsAndKeepTheirSurroundings) {
  for (const AttentionCase& c : {AttentionCase{2, 37, 53, 6, 2, 40, 72, true, 3},
                                 {1, 19, 18, 3, 3, 5, 1, false, 0},
                                 {1, 100, 33, 2, 1, 64, 64, true, 0}}) {
    const AttentionInputs in = make_inputs(c, Dtype::f32);
    for (const Isa isa : isas_under_test()) {
      Context ctx({.num_threads = 2, .isa = isa});
      AttentionResults dense;
      run_forward(ctx, c, in, dense);
      Strided q(in.q);
      Strided k(in.k);
      Strided v(in.v);
      Strided out({c.B, c.T, c.Hq, c.Dv}, Dtype::f32);
      Tensor softmax(dense.softmax.shape());
      attention(ctx, q.view(), k.view(), v.view(), c.options(), out.view(),
                {.statistics = softmax});
      EXPECT_TRUE(same_bits(out.dense(), dense.out)) << c.key("attention.fwd", Dtype::f32, isa);
      EXPECT_TRUE(same_bits(softmax, dense.softmax));
      EXPECT_TRUE(out.guards_are_intact());
    }
  }
}

// Units that wait for each other finish only if as many threads run as there are units.
TEST(AttentionForward, ManyThreadsReallyRun) {
  const ManyThreads many;
  for (const int count : ManyThreads::kCounts) {
    Context ctx({.num_threads = count});
    ASSERT_EQ(ctx.num_threads(), count);
    std::atomic<int> arrived{0};
    std::mutex mutex;
    std::set<std::thread::id> workers;
    std::set<int> slots;
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    ctx.impl().parallel_for(count, [&](Index, int slot) {
      ++arrived;
      while (arrived < count && std::chrono::steady_clock::now() < deadline) {
        std::this_thread::yield();
      }
      const std::lock_guard lock(mutex);
      workers.insert(std::this_thread::get_id());
      slots.insert(slot);
    });
    EXPECT_EQ(workers.size(), static_cast<std::size_t>(count));
    EXPECT_EQ(slots.size(), static_cast<std::size_t>(count));
  }
}

TEST(AttentionForward, AnyNumberOfThreadsGivesTheSameBits) {
  const ManyThreads many;
  for (const AttentionCase& c :
       {AttentionCase{1, 700, 700, 1, 1, 64, 64, true, 0}, {2, 150, 330, 6, 3, 72, 40, false, 0}}) {
    const AttentionInputs in = make_inputs(c, Dtype::f32);
    for (const Isa isa : isas_under_test()) {
      AttentionResults first;
      for (const int count : ManyThreads::kCounts) {
        Context ctx({.num_threads = count, .isa = isa});
        AttentionResults got;
        run_forward(ctx, c, in, got);
        if (count == 1) first = got;
        EXPECT_TRUE(same_bits(got.out, first.out)) << count;
        EXPECT_TRUE(same_bits(got.softmax, first.softmax)) << count;
      }
    }
  }
}

TEST(AttentionForward, TwoCallsGiveTheSameBits) {
  const AttentionCase c{1, 130, 290, 4, 2, 80, 80, true, 160};
  const AttentionInputs in = make_inputs(c, Dtype::f32);
  Context ctx({.num_threads = 2});
  AttentionResults first;
  AttentionResults second;
  run_forward(ctx, c, in, first);
  run_forward(ctx, c, in, second);
  EXPECT_TRUE(same_bits(first.out, second.out));
}

// Repeats each key/value head G times.
Tensor repeat_heads(const Tensor& x, Index group) {
  Tensor out({x.dim(0), x.dim(1), x.dim(2) * group, x.dim(3)});
  for (Index h = 0; h < out.dim(2); ++h) {
    copy(x.view().slice(2, h / group, h / group + 1), out.view().slice(2, h, h + 1));
  }
  return out;
}

TEST(AttentionForward, SharedHeadsEqualRepeatedHeadsInEveryBit) {
  const AttentionCase shared{2, 75, 301, 6, 2, 64, 40, true, 226};
  AttentionCase repeated = shared;
  repeated.Hkv = 6;
  const AttentionInputs in = make_inputs(shared, Dtype::f32);
  AttentionInputs in_repeated = in;
  in_repeated.k = repeat_heads(in.k, 3);
  in_repeated.v = repeat_heads(in.v, 3);
  for (const Isa isa : isas_under_test()) {
    Context ctx({.num_threads = 2, .isa = isa});
    AttentionResults a;
    AttentionResults b;
    run_forward(ctx, shared, in, a);
    run_forward(ctx, repeated, in_repeated, b);
    EXPECT_TRUE(same_bits(a.out, b.out)) << name_of(isa);
    EXPECT_TRUE(same_bits(a.softmax, b.softmax)) << name_of(isa);
  }
}

TEST(AttentionForward, TheOrderOfKeysDoesNotMatter) {
  const AttentionCase c{1, 20, 270, 2, 1, 64, 64, false, 0};
  const AttentionInputs in = make_inputs(c, Dtype::f32);
  AttentionInputs turned = in;
  turned.k = Tensor(in.k.shape());
  turned.v = Tensor(in.v.shape());
  for (Index s = 0; s < c.S; ++s) {
    const Index from = (s * 77 + 5) % c.S;  // 77 and 270 have no common factor
    copy(in.k.view().slice(1, from, from + 1), turned.k.view().slice(1, s, s + 1));
    copy(in.v.view().slice(1, from, from + 1), turned.v.view().slice(1, s, s + 1));
  }
  const auto want = testing::attention_forward_oracle(in.q, in.k, in.v, c.options());
  for (const Isa isa : isas_under_test()) {
    Context ctx({.num_threads = 1, .isa = isa});
    AttentionResults got;
    run_forward(ctx, c, turned, got);
    CHECK_CLOSE(got.out, want.out.value, bounds_of(want.out, Dtype::f32),
                c.key("attention.fwd", Dtype::f32, isa));
  }
}

TEST(AttentionForward, NothingVisibleGivesZerosAndInfiniteLse) {
  for (const AttentionCase& c :
       {AttentionCase{2, 5, 0, 4, 2, 8, 24, false, 0},
        {1, 9, 20, 2, 1, 16, 3, true, -9},
        {1, 9, 20, 2, 1, 16, 3, true, std::numeric_limits<Index>::min()}}) {
    for (const Dtype dtype : {Dtype::f32, Dtype::f64}) {
      const AttentionInputs in = make_inputs(c, dtype);
      for (const Isa isa : isas_under_test()) {
        Context ctx({.num_threads = 2, .isa = isa});
        AttentionResults got;
        run_forward(ctx, c, in, got);
        EXPECT_EQ(testing::max_abs(got.out), 0);
        Tensor none(got.lse.shape(), Dtype::f64);
        std::fill_n(none.data<double>(), none.size(), -std::numeric_limits<double>::infinity());
        CHECK_CLOSE(got.lse, none, 0.0, c.key("attention.fwd", dtype, isa));
      }
    }
  }
}

TEST(AttentionForward, FarOffsetsSeeEverything) {
  const AttentionCase all{1, 4, 20, 2, 1, 16, 16, false, 0};
  AttentionCase far = all;
  far.causal = true;
  far.causal_offset = std::numeric_limits<Index>::max();
  const AttentionInputs in = make_inputs(all, Dtype::f32);
  Context ctx({.num_threads = 1});
  AttentionResults a;
  AttentionResults b;
  run_forward(ctx, all, in, a);
  run_forward(ctx, far, in, b);
  EXPECT_TRUE(same_bits(a.out, b.out));
}

TEST(AttentionForward, NoQueriesOrNoBatchIsNoWork) {
  for (const AttentionCase& c :
       {AttentionCase{1, 0, 7, 2, 1, 8, 8}, AttentionCase{0, 3, 7, 2, 1, 8, 8}}) {
    const AttentionInputs in = make_inputs(c, Dtype::f32);
    Context ctx({.num_threads = 2});
    AttentionResults got;
    EXPECT_NO_THROW(run_forward(ctx, c, in, got));
    EXPECT_EQ(got.out.size(), 0);
  }
}

void set_nan(Tensor& x, Index b, Index t, Index h, Index d) {
  x.data<float>()[((b * x.dim(1) + t) * x.dim(2) + h) * x.dim(3) + d] =
      std::numeric_limits<float>::quiet_NaN();
}

bool row_is_nan(const Tensor& out, Index t, Index h) {
  const float* row = out.data<float>() + (t * out.dim(2) + h) * out.dim(3);
  return std::all_of(row, row + out.dim(3), [](float x) { return std::isnan(x); });
}

// Key and value j hold NaN. Queries before j do not notice; the others become NaN.
TEST(AttentionForward, NanInKeysAndValuesReachesExactlyTheQueriesThatSeeThem) {
  for (const Index group : {1, 2, 5}) {
    const AttentionCase c{1, 40, 40, group, 1, 24, 20, true, 0};
    const AttentionInputs clean = make_inputs(c, Dtype::f32);
    for (const Isa isa : isas_under_test()) {
      Context ctx({.num_threads = 1, .isa = isa});
      AttentionResults want;
      run_forward(ctx, c, clean, want);
      for (Index j = 0; j < c.S; j += 3) {
        AttentionInputs in = clean;
        in.k = clean.k.clone();
        in.v = clean.v.clone();
        set_nan(in.k, 0, j, 0, 7);
        for (Index d = 0; d < c.Dv; ++d) set_nan(in.v, 0, j, 0, d);
        AttentionResults got;
        run_forward(ctx, c, in, got);
        EXPECT_TRUE(std::equal(want.out.data<float>(), want.out.data<float>() + j * c.Hq * c.Dv,
                               got.out.data<float>()))
            << "key " << j << " " << c.key("attention.fwd", Dtype::f32, isa);
        for (Index t = j; t < c.T; ++t) EXPECT_TRUE(row_is_nan(got.out, t, group - 1)) << t;
      }
    }
  }
}

TEST(AttentionForward, NanInOneQueryStaysInItsRow) {
  const AttentionCase c{1, 30, 50, 2, 1, 24, 20, false, 0};
  const AttentionInputs clean = make_inputs(c, Dtype::f32);
  for (const Isa isa : isas_under_test()) {
    Context ctx({.num_threads = 1, .isa = isa});
    AttentionResults want;
    run_forward(ctx, c, clean, want);
    AttentionInputs in = clean;
    in.q = clean.q.clone();
    set_nan(in.q, 0, 13, 1, 0);
    AttentionResults got;
    run_forward(ctx, c, in, got);
    for (Index t = 0; t < c.T; ++t) {
      for (Index h = 0; h < c.Hq; ++h) {
        const Index row = (t * c.Hq + h) * c.Dv;
        if (t == 13 && h == 1) {
          EXPECT_TRUE(row_is_nan(got.out, t, h));
          EXPECT_TRUE(std::isnan(got.lse.data<float>()[h * c.T + t]));
        } else {
          EXPECT_TRUE(std::equal(want.out.data<float>() + row, want.out.data<float>() + row + c.Dv,
                                 got.out.data<float>() + row));
        }
      }
    }
  }
}

TEST(AttentionForward, LargeLogitsStayExact) {
  const AttentionCase c{1, 20, 70, 1, 1, 16, 16, false, 0};
  AttentionInputs in = make_inputs(c, Dtype::f32);
  for (Index i = 0; i < in.q.size(); ++i) in.q.data<float>()[i] *= 1e4F;
  const auto want = testing::attention_forward_oracle(in.q, in.k, in.v, c.options());
  for (const Isa isa : isas_under_test()) {
    Context ctx({.num_threads = 1, .isa = isa});
    AttentionResults got;
    run_forward(ctx, c, in, got);
    CHECK_CLOSE(got.lse, want.lse.value, bounds_of(want.lse, Dtype::f32),
                c.key("attention.fwd", Dtype::f32, isa));
    EXPECT_LE(testing::max_abs(got.out), testing::max_abs(in.v) * (1 + 1e-6));
  }
}

TEST(AttentionForward, BadOperandsAreNamed) {
  Context ctx({.num_threads = 1});
  const Tensor q({2, 3, 4, 8});
  const Tensor k({2, 5, 2, 8});
  const Tensor v({2, 5, 2, 6});
  Tensor out({2, 3, 4, 6});
  Tensor softmax({2, 2, 4, 3});
  const auto call = [&](ConstView a, ConstView b, ConstView c, View d, View e) {
    return testing_support::error_of<ShapeError>(
        [&] { attention(ctx, a, b, c, {}, d, {.statistics = e}); });
  };
  EXPECT_EQ(call(q, k, v, out, softmax), "no error");
  EXPECT_EQ(call(q, Tensor({2, 5, 2, 9}), v, out, softmax),
            "[attention] k: expected [2, *, *, 8], got [2, 5, 2, 9]");
  EXPECT_EQ(call(q, k, Tensor({2, 4, 2, 6}), out, softmax),
            "[attention] v: expected [2, 5, 2, *], got [2, 4, 2, 6]");
  EXPECT_EQ(call(q, Tensor({2, 5, 3, 8}), v, out, softmax),
            "[attention] q: expected heads in a multiple of 3, got 4");
  Tensor wide_out({2, 3, 4, 8}), short_statistics({2, 3, 4});
  EXPECT_EQ(call(q, k, v, wide_out, softmax),
            "[attention] out: expected [2, 3, 4, 6], got [2, 3, 4, 8]");
  EXPECT_EQ(call(q, k, v, out, short_statistics),
            "[attention] statistics: expected [2, 2, 4, 3], got [2, 3, 4]");
  EXPECT_EQ(call(q, Tensor({2, 5, 2, 8}, Dtype::f64), v, out, softmax),
            "[attention] k: expected f32, got f64");
  EXPECT_EQ(call(Tensor({2, 3, 4, 8}, Dtype::f16), k, v, out, softmax),
            "[attention] q: expected f32, f64 or bf16, got f16");
  EXPECT_EQ(call(q, Tensor({2, 8}), v, out, softmax),
            "[attention] k: expected [*, *, *, *], got [2, 8]");
  const Tensor wide({2, 5, 8, 2});
  const ConstView turned(wide.data<float>(), Dtype::f32, {2, 5, 2, 8}, {80, 16, 1, 2});
  EXPECT_EQ(call(q, turned, v, out, softmax),
            "[attention] k: expected a contiguous last axis, got stride 2");
}

}  // namespace
}  // namespace grouphead
