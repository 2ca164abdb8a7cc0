// Caches in bf16 and in 8 bits.

#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "allocation_counter.h"
#include "attention_support.h"
#include "kernels/attention/int8_products.h"
#include "testing/cache_contents.h"

namespace grouphead {
namespace {

using testing_support::allocations_of;
using testing_support::AttentionCase;
using testing_support::error_of;
using testing_support::isas_under_test;
using testing_support::make_inputs;
using testing_support::ManyThreads;
using testing_support::same_bits;

constexpr Dtype kFormats[] = {Dtype::bf16, Dtype::u8};

// A cache for the keys and values of a case; its bytes are NaN where nothing was stored.
struct Cache {
  Cache(const AttentionCase& c, Index capacity, Dtype dtype) {
    const Index tiles = (capacity + 63) / 64;
    const ops::CacheTileBytes bytes = ops::cache_tile_bytes(dtype, c.D, c.Dv);
    keys = Tensor({c.B, c.Hkv, tiles, bytes.keys / size_of(dtype)}, dtype);
    values = Tensor({c.B, c.Hkv, tiles, bytes.values / size_of(dtype)}, dtype);
    for (Tensor* x : {&keys, &values}) {
      std::memset(x->view().raw(), 0xff, static_cast<std::size_t>(x->bytes()));
    }
    if (dtype != Dtype::u8) return;
    exact = Tensor({c.B, c.Hkv, 64, c.D});
    exact_tile = Tensor::zeros({c.B}, Dtype::i64);
  }
  ops::CacheSlice slice() { return {keys, values, exact, exact_tile}; }
  // Positions [begin, end) of the inputs.
  void store(Context& ctx, const testing_support::AttentionInputs& in, Index begin, Index end) {
    ops::cache_store(ctx, "cache_store", in.k.view().slice(1, begin, end),
                     in.v.view().slice(1, begin, end), slice(), begin);
  }
  Tensor keys, values, exact, exact_tile;
};

// What the operation should give from what the cache holds.
testing::OracleResult want_of(const AttentionCase& c, const testing_support::AttentionInputs& in,
                              Cache& cache) {
  const testing::CacheContents held = testing::cache_contents(cache.slice(), c.S, c.D, c.Dv);
  AttentionOptions options = c.options();
  Tensor rounding;
  if (cache.keys.dtype() == Dtype::u8 && c.T * (c.Hq / c.Hkv) <= 16 && c.S > 0) {
    rounding = testing::query_rounding(in.q, held, 1 / std::sqrt(static_cast<double>(c.D)));
    options.bias = rounding;
  }
  return testing::attention_forward_oracle(in.q, held.k, held.v, options).out;
}

std::vector<AttentionCase> cases() {
  std::vector<AttentionCase> all = testing_support::attention_cases();
  const std::vector<AttentionCase> few_rows = {
      {2, 1, 1057, 6, 2, 64, 64, false, 0},     {1, 1, 2500, 8, 1, 128, 72, true, 2499},
      {1, 4, 1030, 8, 2, 40, 5, true, 1026},    {3, 1, 16, 7, 1, 1, 16, false, 0},
      {1, 16, 2049, 1, 1, 64, 128, true, 2033}, {1, 5, 1024, 3, 1, 71, 80, true, -2},
      {1, 2, 0, 2, 1, 8, 8, false, 0},          {1, 40, 0, 2, 1, 8, 8, false, 0},
  };
  all.insert(all.end(), few_rows.begin(), few_rows.end());
  return all;
}

TEST(AttentionCacheFormats, EveryLevelAgreesWithTheOracleOfWhatTheCacheHolds) {
  for (const Dtype format : kFormats) {
    for (const AttentionCase& c : cases()) {
      const testing_support::AttentionInputs in = make_inputs(c, Dtype::f32);
      for (const Isa isa : isas_under_test()) {
        Context ctx({.num_threads = 2, .isa = isa});
        Cache cache(c, c.S + 40, format);
        cache.store(ctx, in, 0, c.S / 3);  // in three pieces, which meet inside tiles
        cache.store(ctx, in, c.S / 3, c.S / 2);
        cache.store(ctx, in, c.S / 2, c.S);
        const testing::OracleResult want = want_of(c, in, cache);
        Tensor got({c.B, c.T, c.Hq, c.Dv});
        ops::attention_cached(ctx, "attention_cached", in.q, cache.slice(), c.S, c.options(), got);
        CHECK_CLOSE(got, want.value, bounds_of(want, Dtype::f32),
                    c.key("decode", Dtype::f32, isa) + " cache " + std::string(name_of(format)));
      }
    }
  }
}

// How far a number of the cache may be from the one that was stored.
TEST(AttentionCacheFormats, NumbersAreRoundedOnce) {
  const AttentionCase c{2, 1, 150, 2, 2, 21, 19, false, 0};
  const testing_support::AttentionInputs in = make_inputs(c, Dtype::f32);
  Context ctx({.num_threads = 1});
  for (const Dtype format : kFormats) {
    Cache cache(c, c.S, format);
    cache.store(ctx, in, 0, c.S);
    const testing::CacheContents held = testing::cache_contents(cache.slice(), c.S, c.D, c.Dv);
    const auto expect = [&](const Tensor& got, const Tensor& exact, const Tensor& scales) {
      double worst = 0;
      for (Index i = 0; i < got.size(); ++i) {
        const double x = exact.data<float>()[i];
        const double unit = format == Dtype::u8 ? scales.data<double>()[i] : std::abs(x) * 0x1p-7;
        const double error = std::abs(got.data<double>()[i] - x);
        EXPECT_LE(error, 0.5 * (1 + 1e-5) * unit) << i;
        worst = std::max(worst, error / unit);
      }
      EXPECT_GT(worst, 0.2);  // bf16: half a unit only just above a power of two
    };
    expect(held.k, in.k, held.key_scales);
    expect(held.v, in.v, held.value_scales);
    if (format == Dtype::bf16) continue;
    // The scale of a dim and tile: its largest number / 127.
    for (Index n = 0; n < c.Hkv; ++n) {
      float most = 0;
      for (Index s = 128; s < 150; ++s) {
        most = std::max(most, std::abs(in.k.data<float>()[((c.S + s) * c.Hkv + n) * c.D + 20]));
      }
      EXPECT_EQ(held.key_scales.data<double>()[((c.S + 140) * c.Hkv + n) * c.D + 20],
                most / 127.0F);
    }
  }
}

bool same_cache(const Cache& a, const Cache& b) {
  return same_bits(a.keys, b.keys) && same_bits(a.values, b.values);
}

TEST(AttentionCacheFormats, WhatIsHeldDoesNotDependOnTheCallsItCameIn) {
  const AttentionCase c{2, 1, 200, 4, 2, 40, 24, false, 0};
  const testing_support::AttentionInputs in = make_inputs(c, Dtype::f32);
  for (const Dtype format : kFormats) {
    Context ctx({.num_threads = 2});
    for (const Index length : {Index{1}, Index{63}, Index{64}, Index{65}, Index{200}}) {
      Cache once(c, c.S, format);
      once.store(ctx, in, 0, length);
      for (const Index step : {1, 7, 64, 100}) {
        Cache pieces(c, c.S, format);
        for (Index s = 0; s < length; s += step) {
          pieces.store(ctx, in, s, std::min(length, s + step));
        }
        EXPECT_TRUE(same_cache(pieces, once)) << name_of(format) << " " << length << " by " << step;
      }
    }
  }
}

// Going back within the last tile forgets without a trace; before it, 8-bit keys of the tile stand
// for the exact ones.
TEST(AttentionCacheFormats, GoingBackAndOnHoldsWhatWasStored) {
  const AttentionCase c{1, 1, 150, 2, 1, 20, 16, false, 0};
  const testing_support::AttentionInputs in = make_inputs(c, Dtype::f32);
  const testing_support::AttentionInputs other = make_inputs(c, Dtype::f32, 77);
  for (const Dtype format : kFormats) {
    Context ctx({.num_threads = 1});
    for (const Index back : {Index{130}, Index{128}, Index{64}, Index{70}}) {
      Cache cache(c, c.S, format);
      cache.store(ctx, in, 0, back);
      cache.store(ctx, other, back, c.S);
      cache.store(ctx, in, back, c.S);
      Cache want(c, c.S, format);
      want.store(ctx, in, 0, c.S);
      if (format == Dtype::bf16 || back != 70) {
        EXPECT_TRUE(same_cache(cache, want)) << name_of(format) << " " << back;
        continue;
      }
      const testing::CacheContents held = testing::cache_contents(cache.slice(), c.S, c.D, c.Dv);
      for (Index i = 0; i < held.k.size(); ++i) {
        const double error = std::abs(held.k.data<double>()[i] - in.k.data<float>()[i]);
        EXPECT_LE(error, 1.2 * std::max(held.key_scales.data<double>()[i], 1 / 127.0)) << i;
      }
    }
  }
}

// Widened, the cache is what the forward would have packed of the same numbers.
TEST(AttentionCacheFormats, APromptHasTheBitsOfTheForwardOfRoundedNumbers) {
  const AttentionCase c{1, 40, 100, 4, 2, 24, 40, true, 60};
  const testing_support::AttentionInputs in = make_inputs(c, Dtype::f32);
  for (const Dtype format : kFormats) {
    for (const Isa isa : isas_under_test()) {
      Context ctx({.num_threads = 2, .isa = isa});
      Cache cache(c, c.S, format);
      cache.store(ctx, in, 0, c.S);
      const testing::CacheContents held = testing::cache_contents(cache.slice(), c.S, c.D, c.Dv);
      testing_support::AttentionInputs rounded = in;
      rounded.k = Tensor(held.k.shape());
      rounded.v = Tensor(held.v.shape());
      for (const auto& [from, to] : {std::pair{&held.k, &rounded.k}, {&held.v, &rounded.v}}) {
        for (Index i = 0; i < from->size(); ++i) {
          to->data<float>()[i] = static_cast<float>(from->data<double>()[i]);
        }
      }
      testing_support::AttentionResults want;
      testing_support::run_forward(ctx, c, rounded, want);
      Tensor got(want.out.shape());
      ops::attention_cached(ctx, "attention_cached", in.q, cache.slice(), c.S, c.options(), got);
      EXPECT_TRUE(same_bits(got, want.out)) << name_of(format) << " " << name_of(isa);
    }
  }
}

TEST(AttentionCacheFormats, AnyNumberOfThreadsGivesTheSameBits) {
  const ManyThreads many;
  for (const AttentionCase& c : {AttentionCase{1, 1, 5000, 4, 2, 24, 24, false, 0},
                                 {2, 3, 3100, 2, 1, 40, 72, true, 3097},
                                 {1, 20, 1100, 4, 2, 40, 24, true, 1080}}) {
    const testing_support::AttentionInputs in = make_inputs(c, Dtype::f32);
    for (const Dtype format : kFormats) {
      for (const Isa isa : isas_under_test()) {
        Tensor first;
        for (const int count : ManyThreads::kCounts) {
          Context ctx({.num_threads = count, .isa = isa});
          Cache cache(c, c.S, format);
          cache.store(ctx, in, 0, c.S);
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

// Products of 8-bit numbers are whole: vpdpbusd, sdot and what stands in for them give plain sums
// to the bit, of the largest numbers too.
TEST(AttentionCacheFormats, ProductsOfEightBitsAreWhole) {
  constexpr Index kRows = kernels::kInt8Rows;
  constexpr Index kKeys = kernels::kPackKeys;
  std::vector<kernels::Int8Products> found;
  for (const Isa isa : available_isas()) {
    if (isa != Isa::ref)
      found.push_back(kernels::int8_substitute(static_cast<kernels::Level>(isa)));
  }
  if (kernels::int8_instruction() != nullptr) found.push_back(kernels::int8_instruction());
  for (const Index words : {4, 20, 32}) {
    for (const bool largest : {false, true}) {
      std::vector<std::uint8_t> tile(static_cast<std::size_t>(kKeys * words * 4));
      std::vector<std::int8_t> queries(static_cast<std::size_t>(kRows * words * 4));
      for (std::size_t i = 0; i < tile.size(); ++i) {
        tile[i] = largest ? 255 : static_cast<std::uint8_t>(i * 37 + i / 64);
      }
      for (std::size_t i = 0; i < queries.size(); ++i) {
        const int extreme = i % 2 == 0 ? 127 : -127;
        const int mixed = static_cast<int>(i * 91 % 255) - 127;
        queries[i] = static_cast<std::int8_t>(largest ? extreme : mixed);
      }
      std::vector<std::int32_t> want(static_cast<std::size_t>(kRows * kKeys));
      for (Index i = 0; i < kRows; ++i) {
        for (Index j = 0; j < kKeys; ++j) {
          for (Index d = 0; d < words * 4; ++d) {
            const Index key = ((j / 16 * words + d / 4) * 16 + j % 16) * 4 + d % 4;
            want[static_cast<std::size_t>(i * kKeys + j)] +=
                tile[static_cast<std::size_t>(key)] *
                queries[static_cast<std::size_t>(i * words * 4 + d)];
          }
        }
      }
      for (const kernels::Int8Products products : found) {
        std::vector<std::int32_t> got(want.size(), -1);
        products(tile.data(), queries.data(), words, 0, got.data());
        EXPECT_EQ(got, want) << words << " " << largest;
      }
    }
  }
  EXPECT_EQ(kernels::int8_substitute(kernels::Level::ref), nullptr);
}

// A value that is NaN reaches those that see it, and no earlier token. So does a key in bf16; in 8
// bits a dim and tile share their scale, and with it the NaN.
TEST(AttentionCacheFormats, NanReachesWhoSeesIt) {
  const AttentionCase c{1, 3, 140, 4, 1, 24, 20, true, 137};
  const testing_support::AttentionInputs clean = make_inputs(c, Dtype::f32);
  for (const Dtype format : kFormats) {
    for (const bool in_keys : {false, true}) {
      testing_support::AttentionInputs in{clean.q, clean.k.clone(), clean.v.clone(), clean.d_out};
      Tensor& x = in_keys ? in.k : in.v;
      x.data<float>()[x.size() - 1] = std::numeric_limits<float>::quiet_NaN();
      for (const Isa isa : isas_under_test()) {
        Context ctx({.num_threads = 1, .isa = isa});
        const auto run = [&](const testing_support::AttentionInputs& of) {
          Cache cache(c, c.S, format);
          cache.store(ctx, of, 0, c.S);
          Tensor out({c.B, c.T, c.Hq, c.Dv});
          ops::attention_cached(ctx, "attention_cached", in.q, cache.slice(), c.S, c.options(),
                                out);
          return out;
        };
        const Tensor want = run(clean);
        const Tensor got = run(in);
        const Index earlier = 2 * c.Hq * c.Dv;
        EXPECT_TRUE(std::isnan(got.data<float>()[got.size() - 1])) << name_of(isa);
        if (format == Dtype::u8 && in_keys) {
          EXPECT_TRUE(std::isnan(got.data<float>()[0])) << name_of(isa);
        } else {
          EXPECT_TRUE(
              std::equal(want.data<float>(), want.data<float>() + earlier, got.data<float>()))
              << name_of(isa);
        }
      }
    }
  }
}

TEST(AttentionCacheFormats, NumbersTooSmallForAScaleAreZero) {
  const AttentionCase c{1, 1, 20, 2, 1, 8, 8, false, 0};
  testing_support::AttentionInputs in = make_inputs(c, Dtype::f32);
  std::fill_n(in.k.data<float>(), in.k.size(), 1e-38F);
  std::fill_n(in.v.data<float>(), in.v.size(), -1e-38F);
  for (const Isa isa : isas_under_test()) {
    Context ctx({.num_threads = 1, .isa = isa});
    Cache cache(c, c.S, Dtype::u8);
    cache.store(ctx, in, 0, c.S);
    Tensor out({c.B, c.T, c.Hq, c.Dv});
    ops::attention_cached(ctx, "attention_cached", in.q, cache.slice(), c.S, c.options(), out);
    EXPECT_EQ(testing::max_abs(out), 0);
  }
}

TEST(AttentionCacheFormats, WarmStepsAllocateNothing) {
  const AttentionCase c{1, 1, 1100, 8, 2, 64, 64, true, 0};
  const testing_support::AttentionInputs in = make_inputs(c, Dtype::f32);
  for (const Dtype format : kFormats) {
    for (const Isa isa : isas_under_test()) {
      Context ctx({.num_threads = 2, .isa = isa});
      Cache cache(c, c.S, format);
      Tensor out({c.B, c.T, c.Hq, c.Dv});
      const auto step = [&](Index s) {
        cache.store(ctx, in, s, s + 1);
        ops::attention_cached(ctx, "attention_cached", in.q, cache.slice(), s + 1,
                              {.causal = true, .causal_offset = s}, out);
      };
      step(0);
      cache.store(ctx, in, 0, c.S);
      const auto steps = [&] {
        for (const Index s : {1, 2, 62, 63, 64, 1022, 1023, 1024, 1025}) step(s);
      };
      EXPECT_EQ(allocations_of(steps).count, 0) << name_of(format) << " " << name_of(isa);
    }
  }
}

TEST(AttentionCacheFormats, BadOperandsAreNamed) {
  Context ctx({.num_threads = 1});
  const AttentionCase c{2, 3, 20, 4, 2, 8, 6, false, 0};
  const testing_support::AttentionInputs in = make_inputs(c, Dtype::f32);
  Cache cache(c, c.S, Dtype::u8);
  const auto store = [&](ConstView k, ConstView v, Index at, const ops::CacheSlice& slice) {
    return error_of<ShapeError>([&] { ops::cache_store(ctx, "cache_store", k, v, slice, at); });
  };
  EXPECT_EQ(store(in.k, in.v, 0, cache.slice()), "no error");
  EXPECT_EQ(store(in.k, in.v, 45, cache.slice()),
            "[cache_store] positions: expected within 0 .. 64, got 45 .. 65");
  EXPECT_EQ(store(Tensor({2, 20, 2, 17}), in.v, 0, cache.slice()),
            "[cache_store] keys: expected [2, 2, *, 2176], got [2, 2, 1, 1088]");
  EXPECT_EQ(store(in.k, Tensor({2, 20, 2, 17}), 0, cache.slice()),
            "[cache_store] values: expected [2, 2, 1, 2304], got [2, 2, 1, 1280]");
  EXPECT_EQ(
      store(Tensor({2, 20, 2, 8}, Dtype::f64), Tensor({2, 20, 2, 6}, Dtype::f64), 0, cache.slice()),
      "[cache_store] keys: expected f64, got u8");
  EXPECT_THAT(store(in.k, in.v, 0, {cache.keys, cache.values}),
              ::testing::StartsWith("[cache_store] exact keys: expected [2, 2, 64, 8]"));
}

}  // namespace
}  // namespace grouphead
