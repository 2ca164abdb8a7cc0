#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "attention_support.h"

namespace grouphead {
namespace {

using testing_support::AttentionCase;
using testing_support::AttentionInputs;
using testing_support::isas_under_test;
using testing_support::make_inputs;
using testing_support::ManyThreads;
using testing_support::run_forward;
using testing_support::same_bits;

Index round_up(Index x) { return (x + 15) / 16 * 16; }

// A cache for the keys and values of a case; its bytes are NaN where nothing was stored.
struct Cache {
  Cache(const AttentionCase& c, Index capacity, Dtype dtype)
      : keys({c.B, c.Hkv, round_up(capacity) / 16, c.D, 16}, dtype),
        values({c.B, c.Hkv, round_up(capacity), round_up(c.Dv)}, dtype) {
    std::memset(keys.view().raw(), 0xff, static_cast<std::size_t>(keys.bytes()));
    std::memset(values.view().raw(), 0xff, static_cast<std::size_t>(values.bytes()));
  }
  ops::CacheSlice slice() { return {keys, values}; }
  Tensor keys, values;
};

void expect_cached_oracle(const AttentionCase& c, Dtype dtype, const std::vector<Isa>& isas) {
  AttentionInputs in = make_inputs(c, dtype);
  const auto want = testing::attention_forward_oracle(in.q, in.k, in.v, c.options());
  for (const Isa isa : isas) {
    Context ctx({.num_threads = 2, .isa = isa});
    Cache cache(c, c.S + 40, dtype);
    // In three pieces, which meet inside panels.
    const Index first = c.S / 3;
    const Index second = c.S / 2;
    for (const auto& [begin, end] : {std::pair{Index{0}, first}, {first, second}, {second, c.S}}) {
      ops::cache_store(ctx, "cache_store", in.k.view().slice(1, begin, end),
                       in.v.view().slice(1, begin, end), cache.slice(), begin);
    }
    Tensor got({c.B, c.T, c.Hq, c.Dv}, dtype);
    ops::attention_cached(ctx, "attention_cached", in.q, cache.slice(), c.S, c.options(), got);
    CHECK_CLOSE(got, want.out.value, bounds_of(want.out, dtype), c.key("decode", dtype, isa));
  }
}

std::vector<AttentionCase> cases() {
  std::vector<AttentionCase> all = testing_support::attention_cases();
  const std::vector<AttentionCase> few_rows = {
      {2, 1, 1057, 6, 2, 64, 64, false, 0},     {1, 1, 2500, 8, 1, 128, 72, true, 2499},
      {1, 4, 1030, 8, 2, 40, 5, true, 1026},    {3, 1, 16, 7, 1, 1, 16, false, 0},
      {1, 16, 2049, 1, 1, 64, 128, true, 2033}, {1, 5, 1024, 3, 1, 72, 80, true, -2},
      {1, 2, 0, 2, 1, 8, 8, false, 0},          {1, 40, 0, 2, 1, 8, 8, false, 0},
  };
  all.insert(all.end(), few_rows.begin(), few_rows.end());
  return all;
}

TEST(AttentionCached, EveryLevelAgreesWithTheOracleAndIgnoresWhatIsBehindTheLength) {
  for (const AttentionCase& c : cases()) expect_cached_oracle(c, Dtype::f32, isas_under_test());
}

TEST(AttentionCached, DoublesAgreeWithTheOracle) {
  for (const AttentionCase& c : cases()) expect_cached_oracle(c, Dtype::f64, {Isa::ref});
}

// A prompt in one call, then tokens one by one, against one pass over all of them.
TEST(AttentionCached, PrefillAndSingleStepsEqualOneFullPass) {
  const AttentionCase full{2, 60, 60, 8, 2, 40, 40, true, 0};
  constexpr Index kPrompt = 41;
  const AttentionInputs in = make_inputs(full, Dtype::f32);
  for (const Isa isa : isas_under_test()) {
    Context ctx({.num_threads = 2, .isa = isa});
    testing_support::AttentionResults want;
    run_forward(ctx, full, in, want);
    Cache cache(full, 64, Dtype::f32);
    Tensor got(want.out.shape());
    for (Index begin = 0; begin < full.T;) {
      const Index end = begin == 0 ? kPrompt : begin + 1;
      ops::cache_store(ctx, "cache_store", in.k.view().slice(1, begin, end),
                       in.v.view().slice(1, begin, end), cache.slice(), begin);
      ops::attention_cached(ctx, "attention_cached", in.q.view().slice(1, begin, end),
                            cache.slice(), end, {.causal = true, .causal_offset = begin},
                            got.view().slice(1, begin, end));
      begin = end;
    }
    Tensor want_double(want.out.shape(), Dtype::f64);
    for (Index i = 0; i < got.size(); ++i) {
      want_double.data<double>()[i] = want.out.data<float>()[i];
    }
    CHECK_CLOSE(got, want_double, 1e-5 * testing::max_abs(in.v),
                full.key("decode", Dtype::f32, isa));
  }
}

// Many rows take the forward kernel, whose bits do not depend on how the queries are cut.
TEST(AttentionCached, APromptInPiecesHasTheBitsOfOneForward) {
  const AttentionCase full{1, 120, 120, 4, 2, 64, 64, true, 0};
  const AttentionInputs in = make_inputs(full, Dtype::f32);
  for (const Isa isa : isas_under_test()) {
    Context ctx({.num_threads = 2, .isa = isa});
    testing_support::AttentionResults want;
    run_forward(ctx, full, in, want);
    Cache cache(full, 128, Dtype::f32);
    Tensor got(want.out.shape());
    for (const auto& [begin, end] : {std::pair<Index, Index>{0, 33}, {33, 80}, {80, 120}}) {
      ops::cache_store(ctx, "cache_store", in.k.view().slice(1, begin, end),
                       in.v.view().slice(1, begin, end), cache.slice(), begin);
      ops::attention_cached(ctx, "attention_cached", in.q.view().slice(1, begin, end),
                            cache.slice(), end, {.causal = true, .causal_offset = begin},
                            got.view().slice(1, begin, end));
    }
    EXPECT_TRUE(same_bits(got, want.out)) << name_of(isa);
  }
}

TEST(AttentionCached, AnyNumberOfThreadsGivesTheSameBits) {
  const ManyThreads many;
  for (const AttentionCase& c : {AttentionCase{1, 1, 5000, 4, 2, 24, 24, false, 0},
                                 {2, 3, 3100, 2, 1, 40, 72, true, 3097}}) {
    const AttentionInputs in = make_inputs(c, Dtype::f32);
    for (const Isa isa : isas_under_test()) {
      Tensor first;
      for (const int count : ManyThreads::kCounts) {
        Context ctx({.num_threads = count, .isa = isa});
        Cache cache(c, c.S, Dtype::f32);
        ops::cache_store(ctx, "cache_store", in.k, in.v, cache.slice(), 0);
        for (int call = 0; call < 2; ++call) {
          Tensor got({c.B, c.T, c.Hq, c.Dv});
          ops::attention_cached(ctx, "attention_cached", in.q, cache.slice(), c.S, c.options(),
                                got);
          if (!first.has_value()) first = got;
          EXPECT_TRUE(same_bits(got, first)) << name_of(isa) << " thr=" << count;
        }
      }
    }
  }
}

// Of several new tokens, the earlier ones do not see the later ones' keys.
TEST(AttentionCached, NanInALaterTokenDoesNotReachEarlierOnes) {
  for (const Index length : {Index{21}, Index{1026}}) {
    const AttentionCase c{1, 3, length, 4, 1, 24, 20, true, length - 3};
    AttentionInputs in = make_inputs(c, Dtype::f32);
    const auto last_nan = [](Tensor& x) {
      x.data<float>()[x.size() - 1] = std::numeric_limits<float>::quiet_NaN();
    };
    for (const Isa isa : isas_under_test()) {
      Context ctx({.num_threads = 1, .isa = isa});
      const auto run = [&] {
        Cache cache(c, c.S, Dtype::f32);
        ops::cache_store(ctx, "cache_store", in.k, in.v, cache.slice(), 0);
        Tensor out({c.B, c.T, c.Hq, c.Dv});
        ops::attention_cached(ctx, "attention_cached", in.q, cache.slice(), c.S, c.options(), out);
        return out;
      };
      const Tensor clean = run();
      const AttentionInputs kept{in.q, in.k.clone(), in.v.clone(), in.d_out};
      last_nan(in.k);
      last_nan(in.v);
      const Tensor got = run();
      in = kept;
      const Index earlier = 2 * c.Hq * c.Dv;
      EXPECT_TRUE(std::equal(clean.data<float>(), clean.data<float>() + earlier, got.data<float>()))
          << name_of(isa);
      EXPECT_TRUE(std::all_of(got.data<float>() + earlier, got.data<float>() + got.size(),
                              [](float x) { return std::isnan(x); }));
    }
  }
}

TEST(AttentionCached, StoreKeepsTheOtherPositions) {
  const AttentionCase c{1, 1, 40, 2, 2, 7, 9, false, 0};
  const AttentionInputs in = make_inputs(c, Dtype::f32);
  for (const Isa isa : isas_under_test()) {
    Context ctx({.num_threads = 1, .isa = isa});
    Cache once(c, c.S, Dtype::f32);
    ops::cache_store(ctx, "cache_store", in.k, in.v, once.slice(), 0);
    Cache backwards(c, c.S, Dtype::f32);
    for (Index s = c.S - 1; s >= 0; --s) {
      ops::cache_store(ctx, "cache_store", in.k.view().slice(1, s, s + 1),
                       in.v.view().slice(1, s, s + 1), backwards.slice(), s);
    }
    const auto bytes = [](const Tensor& x) { return static_cast<std::size_t>(x.bytes()); };
    EXPECT_EQ(std::memcmp(once.keys.view().raw(), backwards.keys.view().raw(), bytes(once.keys)),
              0);
    EXPECT_EQ(
        std::memcmp(once.values.view().raw(), backwards.values.view().raw(), bytes(once.values)),
        0);
  }
}

TEST(AttentionCached, BadOperandsAreNamed) {
  Context ctx({.num_threads = 1});
  const AttentionCase c{2, 3, 20, 4, 2, 8, 6, false, 0};
  const AttentionInputs in = make_inputs(c, Dtype::f32);
  Cache cache(c, c.S, Dtype::f32);
  Tensor out({2, 3, 4, 6});
  const auto store = [&](ConstView k, ConstView v, Index at) {
    return testing_support::error_of<ShapeError>(
        [&] { ops::cache_store(ctx, "cache_store", k, v, cache.slice(), at); });
  };
  const auto attend = [&](ConstView q, Index length, View to) {
    return testing_support::error_of<ShapeError>(
        [&] { ops::attention_cached(ctx, "attention_cached", q, cache.slice(), length, {}, to); });
  };
  EXPECT_EQ(store(in.k, in.v, 0), "no error");
  EXPECT_EQ(store(in.k, in.v, 13),
            "[cache_store] positions: expected within 0 .. 32, got 13 .. 33");
  EXPECT_EQ(store(in.k, in.v, -1),
            "[cache_store] positions: expected within 0 .. 32, got -1 .. 19");
  EXPECT_EQ(store(Tensor({2, 3, 1, 8}), in.v, 0),
            "[cache_store] k: expected [*, *, 2, *], got [2, 3, 1, 8]");
  EXPECT_EQ(store(in.k, Tensor({2, 20, 2, 17}), 0),
            "[cache_store] v: expected a head dim that rounds up to 16, got 17");
  EXPECT_EQ(attend(in.q, 20, out), "no error");
  EXPECT_EQ(attend(in.q, 33, out),
            "[attention_cached] positions: expected within 0 .. 32, got 0 .. 33");
  EXPECT_EQ(attend(Tensor({2, 3, 3, 8}), 20, out),
            "[attention_cached] q: expected heads in a multiple of 2, got 3");
  EXPECT_EQ(attend(Tensor({2, 3, 4, 9}), 20, out),
            "[attention_cached] keys: expected [2, *, *, 9, 16], got [2, 2, 2, 8, 16]");
  Tensor wide({2, 3, 4, 40});
  EXPECT_EQ(attend(in.q, 20, wide),
            "[attention_cached] out: expected a head dim that rounds up to 16, got 40");
}

}  // namespace
}  // namespace grouphead
