// grouphead/attention.h on a caller's own buffers.

#include <gmock/gmock.h>

#include <cmath>
#include <limits>
#include <vector>

#include "attention_options_support.h"
#include "grouphead/attention.h"
#include "ops/attention_problem.h"
#include "testing/cache_contents.h"
#include "testing/inputs.h"

namespace grouphead {
namespace {

using testing_support::AttentionCase;
using testing_support::AttentionInputs;
using testing_support::error_of;
using testing_support::isas_under_test;
using testing_support::make_inputs;
using testing_support::make_operands;
using testing_support::ManyThreads;
using testing_support::OptionCase;
using testing_support::OptionOperands;
using testing_support::same_bits;
using testing_support::Strided;

Tensor narrow(Context& ctx, const Tensor& x) { return testing::convert(ctx, x, Dtype::bf16); }
Tensor in_double(Context& ctx, const Tensor& x) { return testing::convert(ctx, x, Dtype::f32); }

TEST(AttentionFunctions, TwelveLinesOnPlainVectors) {
  constexpr Index B = 1, T = 2, S = 2, Hq = 2, Hkv = 1, D = 1;
  const std::vector<float> q(B * T * Hq * D, 0), k(B * S * Hkv * D, 1), v = {1, 3};
  std::vector<float> out(q.size());
  Context ctx;
  attention(ctx, {q.data(), {B, T, Hq, D}}, {k.data(), {B, S, Hkv, D}}, {v.data(), {B, S, Hkv, D}},
            {.causal = true}, {out.data(), {B, T, Hq, D}});
  EXPECT_THAT(out, ::testing::ElementsAre(1, 1, 2, 2));
}

// The log of an empty sum, and of a sum of one.
TEST(AttentionFunctions, LseIsTheLogOfTheSum) {
  const AttentionCase c{1, 3, 2, 1, 1, 4, 4, true, -1};
  const AttentionInputs in = make_inputs(c, Dtype::f32);
  for (const Isa isa : isas_under_test()) {
    Context ctx({.num_threads = 1, .isa = isa});
    Tensor out({1, 3, 1, 4}), lse({1, 1, 3});
    attention(ctx, in.q, in.k, in.v, c.options(), out, {.lse = lse});
    EXPECT_EQ(lse.data<float>()[0], -std::numeric_limits<float>::infinity());
    float logit = 0;
    for (Index d = 0; d < 4; ++d) logit += in.q.data<float>()[4 + d] * in.k.data<float>()[d] / 2;
    EXPECT_NEAR(lse.data<float>()[1], logit, 1e-6);
  }
}

// Of 8 and of 12 heads, as the authors' code makes them.
TEST(AttentionFunctions, SlopesAreThoseOfAlibi) {
  EXPECT_THAT(alibi_slopes(8), ::testing::ElementsAre(0.5, 0.25, 0.125, 0.0625, 0.03125, 0.015625,
                                                      0.0078125, 0.00390625));
  const std::vector<double> twelve = alibi_slopes(12);
  ASSERT_EQ(twelve.size(), 12U);
  EXPECT_EQ(twelve[7], 0.00390625);
  EXPECT_DOUBLE_EQ(twelve[8], std::sqrt(0.5));
  EXPECT_DOUBLE_EQ(twelve[9], std::pow(0.5, 1.5));
  EXPECT_THROW(alibi_slopes(0), ConfigError);
}

TEST(AttentionFunctions, AScaleOfZeroIsTheMean) {
  const AttentionCase c{1, 1, 20, 2, 1, 8, 1};
  const AttentionInputs in = make_inputs(c, Dtype::f32);
  double mean = 0;
  for (Index s = 0; s < 20; ++s) mean += in.v.data<float>()[s] / 20;
  for (const Isa isa : isas_under_test()) {
    Context ctx({.num_threads = 1, .isa = isa});
    Tensor out({1, 1, 2, 1});
    attention(ctx, in.q, in.k, in.v, {.scale = 0}, out);
    EXPECT_NEAR(out.data<float>()[1], mean, 1e-6);
  }
}

// The gradients of the widened operands, rounded once, where no kernels for bf16 round factors too.
TEST(AttentionFunctions, GradientsOfBf16AreThoseOfF32Rounded) {
  const OptionCase c{.base = {2, 19, 83, 4, 2, 8, 5, true, 64},
                     .window_left = 40,
                     .mask = {2, 1, 19, 83},
                     .bias = {1, 4, 1, 83},
                     .d_scores = true};
  const OptionOperands o = make_operands(c, Dtype::f32);
  for (const Isa isa : isas_under_test()) {
    Context ctx({.num_threads = 2, .isa = isa});
    const Tensor q = narrow(ctx, o.in.q), k = narrow(ctx, o.in.k), v = narrow(ctx, o.in.v);
    const Tensor bias = narrow(ctx, o.bias), d_out = narrow(ctx, o.in.d_out);
    AttentionOptions options = o.options;
    options.bias = bias;
    Tensor out(d_out.shape(), Dtype::bf16), statistics({2, 2, 4, 19}), scores({2, 4, 19, 83});
    attention(ctx, q, k, v, options, out, {.statistics = statistics});
    attention_scores(ctx, q, k, options, statistics, scores);
    Tensor d_q(q.shape(), Dtype::bf16), d_k(k.shape(), Dtype::bf16), d_v(v.shape(), Dtype::bf16);
    Tensor d_bias(bias.shape(), Dtype::bf16);
    attention_backward(ctx, q, k, v, options, out, statistics,
                       {.d_out = d_out,
                        .d_scores = o.d_scores,
                        .d_q = d_q,
                        .d_k = d_k,
                        .d_v = d_v,
                        .d_bias = d_bias});

    const Tensor q2 = in_double(ctx, q), k2 = in_double(ctx, k), v2 = in_double(ctx, v),
                 b2 = in_double(ctx, bias);
    const Tensor out2 = in_double(ctx, out), d_out2 = in_double(ctx, d_out);
    options.bias = b2;
    Tensor scores2(scores.shape());
    attention_scores(ctx, q2, k2, options, statistics, scores2);
    EXPECT_TRUE(same_bits(scores, scores2)) << name_of(isa);
    if (ops::bf16_is_native(ctx)) continue;
    Tensor g_q(q.shape()), g_k(k.shape()), g_v(v.shape()), g_bias(bias.shape());
    attention_backward(ctx, q2, k2, v2, options, out2, statistics,
                       {.d_out = d_out2,
                        .d_scores = o.d_scores,
                        .d_q = g_q,
                        .d_k = g_k,
                        .d_v = g_v,
                        .d_bias = g_bias});
    EXPECT_TRUE(same_bits(d_q, narrow(ctx, g_q))) << name_of(isa);
    EXPECT_TRUE(same_bits(d_k, narrow(ctx, g_k))) << name_of(isa);
    EXPECT_TRUE(same_bits(d_v, narrow(ctx, g_v))) << name_of(isa);
    EXPECT_TRUE(same_bits(d_bias, narrow(ctx, g_bias))) << name_of(isa);
  }
}

TEST(AttentionFunctions, AbsentGradientsAreNotWanted) {
  const AttentionCase c{1, 30, 40, 4, 2, 16, 16, true, 10};
  const AttentionInputs in = make_inputs(c, Dtype::f32);
  Context ctx({.num_threads = 1});
  testing_support::AttentionResults all;
  run_forward(ctx, c, in, all);
  run_backward(ctx, c, in, all);
  Tensor d_v(in.v.shape());
  attention_backward(ctx, in.q, in.k, in.v, c.options(), all.out, all.softmax,
                     {.d_out = in.d_out, .d_v = d_v});
  EXPECT_TRUE(same_bits(d_v, all.d_v));
}

// ---- caches ----

KvCache cache_of(Context& ctx, const AttentionCase& c, Dtype dtype) {
  return KvCache(ctx, {.num_layers = 2,
                       .batch = c.B,
                       .num_key_value_heads = c.Hkv,
                       .head_dim = c.D,
                       .capacity = c.S,
                       .dtype = dtype});
}

// The last T positions by decode(), those before in one call that stores them.
Tensor decoded(Context& ctx, const AttentionInputs& in, KvCache& cache,
               const AttentionOptions& options) {
  const Index T = in.q.dim(1), S = in.k.dim(1);
  const auto part = [&](const Tensor& x, Index begin, Index end) {
    return x.view().slice(1, begin, end);
  };
  ops::cache_store(ctx, "test", part(in.k, 0, S - T), part(in.v, 0, S - T), ops::slice_of(cache, 1),
                   0);
  cache.advance(S - T);
  Tensor out(in.q.shape(), in.q.dtype());
  decode(ctx, in.q, part(in.k, S - T, S), part(in.v, S - T, S), cache, 1, options, out);
  cache.advance(T);
  return out;
}

// Every option, few rows (the decode kernels) and many (the forward kernel), against the oracle.
TEST(AttentionFunctions, DecodeTakesEveryOption) {
  const AttentionCase few{2, 3, 1100, 4, 2, 24, 24, true, 1097};
  const AttentionCase many{1, 37, 150, 4, 2, 16, 16, true, 113};
  const AttentionCase plain{1, 5, 90, 4, 2, 16, 16, false, 85};
  constexpr auto kUniform = MaskedRows::uniform;
  const std::vector<OptionCase> cases = {
      {.base = few},
      {.base = few, .window_left = 0},
      {.base = few, .window_left = 70},
      {.base = few, .window_left = 1090},
      {.base = many, .window_left = 20},
      {.base = plain, .window_left = 30, .window_right = 1},
      {.base = plain, .window_right = 0},
      {.base = few, .mask = {2, 1, 3, 1100}},
      {.base = few, .window_left = 400, .key_mask = true},
      {.base = plain, .query_mask = true, .masked_rows = kUniform},
      {.base = few, .bias = {1, 4, 1, 1100}},
      {.base = few, .dropout_rate = 0.3},
      {.base = many, .window_left = 50, .mask = {1, 1, 37, 150}, .bias = {1, 4, 37, 150}},
  };
  for (const OptionCase& c : cases) {
    for (const Dtype dtype : {Dtype::f32, Dtype::f64}) {
      const OptionOperands o = make_operands(c, dtype);
      const auto want = testing::attention_forward_oracle(o.in.q, o.in.k, o.in.v, o.options).out;
      AttentionOptions options = o.options;
      options.causal_offset = 0;
      for (const Isa isa : dtype == Dtype::f32 ? isas_under_test() : std::vector<Isa>{Isa::ref}) {
        Context ctx({.num_threads = 2, .isa = isa});
        KvCache cache = cache_of(ctx, c.base, dtype);
        const Tensor got = decoded(ctx, o.in, cache, options);
        CHECK_CLOSE(got, want.value, bounds_of(want, dtype), c.to_string());
        // Again, without storing.
        Tensor again(got.shape(), dtype);
        options.causal_offset = o.options.causal_offset;
        attention_cached(ctx, o.in.q, cache, 1, options, again);
        EXPECT_TRUE(same_bits(got, again)) << c.to_string();
        options.causal_offset = 0;
      }
    }
  }
}

// Against attention to what the cache holds.
TEST(AttentionFunctions, WindowsWorkOnCachesInFewerBits) {
  for (const AttentionCase& base : {AttentionCase{2, 3, 1100, 4, 2, 24, 24, true, 1097},
                                    {1, 1, 200, 8, 1, 64, 64, true, 199},
                                    {1, 20, 200, 4, 2, 16, 16, true, 180}}) {
    for (const Index left : {Index{0}, Index{5}, Index{63}, Index{64}, Index{130}, Index{5000}}) {
      for (const Dtype dtype : {Dtype::bf16, Dtype::u8}) {
        const AttentionInputs in = make_inputs(base, Dtype::f32);
        for (const Isa isa : isas_under_test()) {
          Context ctx({.num_threads = 2, .isa = isa});
          KvCache cache = cache_of(ctx, base, dtype);
          const Tensor got = decoded(ctx, in, cache, {.causal = true, .window_left = left});
          const testing::CacheContents held =
              testing::cache_contents(ops::slice_of(cache, 1), base.S, base.D, base.D);
          AttentionOptions options = base.options();
          options.window_left = left;
          Tensor rounding;
          if (dtype == Dtype::u8 && base.T * (base.Hq / base.Hkv) <= 16) {
            rounding =
                testing::query_rounding(in.q, held, 1 / std::sqrt(static_cast<double>(base.D)));
            options.bias = rounding;
          }
          const auto want = testing::attention_forward_oracle(in.q, held.k, held.v, options).out;
          CHECK_CLOSE(got, want.value, bounds_of(want, Dtype::f32),
                      base.key("decode", dtype, isa) + " left=" + std::to_string(left));
        }
      }
    }
  }
}

TEST(AttentionFunctions, AValueInFrontOfTheWindowNeverReachesTheResult) {
  const AttentionCase c{1, 2, 300, 4, 2, 16, 16, true, 298};
  const AttentionInputs clean = make_inputs(c, Dtype::f32);
  AttentionInputs dirty = make_inputs(c, Dtype::f32);
  // Position 288 is the first that the last query does not see.
  for (Index s = 0; s <= 288; ++s) {
    dirty.v.data<float>()[s * 2 * 16 + 3] = std::numeric_limits<float>::quiet_NaN();
    dirty.v.data<float>()[s * 2 * 16 + 16] = std::numeric_limits<float>::infinity();
  }
  for (const Isa isa : isas_under_test()) {
    Context ctx({.num_threads = 1, .isa = isa});
    for (const Dtype dtype : {Dtype::f32, Dtype::bf16}) {
      KvCache a = cache_of(ctx, c, dtype), b = cache_of(ctx, c, dtype);
      const AttentionOptions options{.causal = true, .window_left = 10};
      const Tensor want = decoded(ctx, clean, a, options);
      const Tensor got = decoded(ctx, dirty, b, options);
      EXPECT_TRUE(std::equal(got.data<float>() + 4 * 16, got.data<float>() + 2 * 4 * 16,
                             want.data<float>() + 4 * 16))
          << name_of(isa) << " " << name_of(dtype);
      EXPECT_TRUE(std::isnan(got.data<float>()[3])) << name_of(isa);  // the first query sees 288
    }
  }
}

TEST(AttentionFunctions, AnyNumberOfThreadsDecodesTheSameBits) {
  const ManyThreads many;
  const AttentionCase c{2, 2, 2500, 4, 2, 24, 24, true, 2498};
  const AttentionInputs in = make_inputs(c, Dtype::f32);
  for (const Isa isa : isas_under_test()) {
    for (const Dtype dtype : {Dtype::f32, Dtype::bf16, Dtype::u8}) {
      Tensor first;
      for (const int count : ManyThreads::kCounts) {
        Context ctx({.num_threads = count, .isa = isa});
        KvCache cache = cache_of(ctx, c, dtype);
        const Tensor got = decoded(ctx, in, cache, {.causal = true, .window_left = 1500});
        if (!first.has_value()) first = got;
        EXPECT_TRUE(same_bits(got, first)) << name_of(isa) << " thr=" << count;
      }
    }
  }
}

TEST(AttentionFunctions, StridedOperandsDecodeAsDenseOnes) {
  const AttentionCase c{2, 3, 100, 4, 2, 24, 24, true, 97};
  const AttentionInputs in = make_inputs(c, Dtype::f32);
  Context ctx({.num_threads = 1});
  KvCache a = cache_of(ctx, c, Dtype::f32), b = cache_of(ctx, c, Dtype::f32);
  Tensor want({2, 100, 4, 24});
  const Tensor q = testing_support::uniform({2, 100, 4, 24}, Dtype::f32, 7);
  decode(ctx, q, in.k, in.v, a, 0, {.causal = true}, want);
  Strided q2(q), k2(in.k), v2(in.v), out(want.shape(), Dtype::f32);
  decode(ctx, q2.view(), k2.view(), v2.view(), b, 0, {.causal = true}, out.view());
  EXPECT_TRUE(same_bits(out.dense(), want));
  EXPECT_TRUE(out.guards_are_intact());
}

TEST(AttentionFunctions, BadCallsOfCachesAreNamed) {
  Context ctx({.num_threads = 1});
  KvCache cache(ctx, {.num_layers = 2, .head_dim = 8, .capacity = 16});
  Tensor q({1, 3, 2, 8}), k({1, 3, 1, 8}), out({1, 3, 2, 8}), long_k({1, 17, 1, 8});
  Tensor long_q({1, 17, 2, 8}), other({1, 2, 1, 8}), double_k({1, 3, 1, 8}, Dtype::f64);
  const auto call = [&](ConstView query, ConstView key, Index layer,
                        const AttentionOptions& options) {
    return error_of<Error>([&] { decode(ctx, query, key, key, cache, layer, options, out); });
  };
  EXPECT_EQ(call(q, k, 0, {}), "no error");
  EXPECT_EQ(call(q, k, 2, {}), "[kv_cache] layer: expected 0 .. 1, got 2");
  EXPECT_EQ(call(q, k, 0, {.causal_offset = 1}),
            "[decode] causal_offset: expected 0, as the cache knows its positions, got 1");
  EXPECT_EQ(call(q, other, 0, {}), "[decode] k: expected [1, 3, *, *], got [1, 2, 1, 8]");
  EXPECT_EQ(call(long_q, long_k, 0, {}),
            "[decode] positions: expected within 0 .. 16, got 0 .. 17");
  EXPECT_EQ(call(q, double_k, 0, {}), "[decode] keys: expected f64, got f32");
  const Tensor lengths = Tensor::zeros({1}, Dtype::i32);
  EXPECT_EQ(call(q, k, 0, {.lengths = lengths}),
            "[decode] lengths: expected none with a cache, got some");
  EXPECT_EQ(call(q, k, 0, {.mask = k}),
            "[decode] mask: expected [1, 2, 3, 3] or 1 in place of any of these, got [1, 3, 1, 8]");
}

}  // namespace
}  // namespace grouphead
