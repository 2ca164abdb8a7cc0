#include "testing/problem.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "testing/masks.h"

namespace grouphead::testing {
namespace {

std::string error_of(const std::string& text) {
  try {
    parse_problem(text);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "no error";
}

TEST(Problem, ReadsWordsInAnyOrder) {
  const Problem p = parse_problem(
      "attention.fwd f32 b2 t3 s7 hq8 hkv2 d5 dv6 causal offset=-2 thr=2 isa=avx2 seed=9");
  EXPECT_EQ(p.operation, Operation::attention_forward);
  EXPECT_EQ(p.dtype, Dtype::f32);
  EXPECT_EQ(p.B, 2);
  EXPECT_EQ(p.T, 3);
  EXPECT_EQ(p.S, 7);
  EXPECT_EQ(p.Hq, 8);
  EXPECT_EQ(p.Hkv, 2);
  EXPECT_EQ(p.D, 5);
  EXPECT_EQ(p.Dv, 6);
  EXPECT_TRUE(p.causal);
  EXPECT_EQ(p.causal_offset, -2);
  EXPECT_EQ(p.num_threads, 2);
  EXPECT_EQ(p.isa, Isa::avx2);
  EXPECT_EQ(p.seed, 9);
  EXPECT_EQ(p, parse_problem("attention.fwd  seed=9 dv6 isa=avx2 d5 thr=2 hkv2 causal hq8 s7 t3 "
                             "offset=-2 b2 f32"));
}

TEST(Problem, CanonicalStringReadsBackAsTheSameProblem) {
  for (const char* text :
       {"attention.fwd f32 b1 t1024 s1024 hq32 hkv8 d64 dv64",
        "attention.fwd f64 b1 t5 s9 hq2 hkv1 d3 dv4 causal offset=4 isa=ref",
        "attention.fwd f32 b1 t5 s9 hq2 hkv1 d3 dv4 window=3 mask=bool bias dropout=0.25",
        "attention.fwdbwd f32 b1 t5 s9 hq2 hkv1 d3 dv4 offset=2 window=3 mask=key dropout=1 "
        "rng=threefry",
        "attention.fwdbwd f32 b4 t512 s512 hq8 hkv2 d64 dv64 causal thr=2 seed=7",
        "attention.fwdbwd f32 b4 t5 s9 hq2 hkv1 d3 dv4 softcap=2.5 alibi sinks lengths",
        "attention.fwd f32 b1 t6 s9 hq2 hkv1 d3 dv4 packed=3",
        "decode f32 b1 s8192 hq32 hkv8 d128 dv128 cache=f32 thr=1",
        "decode f32 b1 s64 hq32 hkv8 d128 dv128 cache=int8",
        "decode f32 b3 s64 hq32 hkv8 d128 dv128 cache=bf16 form=paged lengths",
        "decode f32 b1 s64 hq32 hkv8 d128 dv128 cache=f32 form=ring window=20",
        "gemm f32 m512 n256 k256",
        "gemm f32 m512 n256 k256 weights=bf16",
        "layer.gqa.fwd f32 b4 t512 s512 hq8 hkv2 d64 m512 causal",
        "layer.gqa.train f64 b1 t5 s9 hq2 hkv1 d3 m7",
        "layer.mha.fwd f32 b4 t512 s512 hq8 d64 m512",
        "layer.mha.train f32 b1 t5 s5 hq2 d3 m7",
        "lm.train f32 b16 t256 hq8 hkv2 m256 f1024 l4 v256 thr=2",
        "lm.train f32 b16 t256 hq8 hkv2 m32 f64 l4 v256",
        "lm.train f64 b16 t256 hq8 hkv2 m32 f32 l4 v256",
        "lm.generate f32 b1 t256 s16 hq8 hkv2 m256 f1024 l4 v256"}) {
    EXPECT_EQ(to_string(parse_problem(text)), text);
  }
}

TEST(Problem, DefaultsAreFilledIn) {
  EXPECT_EQ(to_string(parse_problem("attention.fwd t4 hq2 d8")),
            "attention.fwd f32 b1 t4 s4 hq2 hkv2 d8 dv8");
  EXPECT_EQ(to_string(parse_problem("layer.gqa.train t4 m6 hq2 d8")),
            "layer.gqa.train f32 b1 t4 s4 hq2 hkv2 d8 m6");
  EXPECT_EQ(to_string(parse_problem("layer.mha.fwd t4 m6 hq2 d8")),
            "layer.mha.fwd f32 b1 t4 s4 hq2 d8 m6");
  EXPECT_EQ(to_string(parse_problem("decode hq4 hkv2 d16 s33")),
            "decode f32 b1 s33 hq4 hkv2 d16 dv16 cache=f32");
  EXPECT_EQ(to_string(parse_problem("lm.train")),
            "lm.train f32 b16 t256 hq8 hkv2 m256 f1024 l4 v256");
  EXPECT_EQ(to_string(parse_problem("lm.generate m64")),
            "lm.generate f32 b1 t256 s16 hq8 hkv2 m64 f256 l4 v256");
}

TEST(Problem, TheWidthOfAFeedForwardBlockIsNoType) {
  const Problem p = parse_problem("lm.train m32 f64");
  EXPECT_EQ(p.dtype, Dtype::f32);
  EXPECT_EQ(p.F, 64);
  EXPECT_EQ(parse_problem("lm.generate f64 m32").dtype, Dtype::f64);
  EXPECT_EQ(parse_problem("lm.generate f64 m32").F, 128);
}

TEST(Problem, UnknownOperationsAreRefusedWithTheKnownOnes) {
  const std::string known =
      "[problem] operation: expected one of attention.fwd, attention.fwdbwd, decode, gemm, "
      "layer.gqa.fwd, layer.gqa.train, layer.mha.fwd, layer.mha.train, lm.train, lm.generate, got ";
  EXPECT_EQ(error_of(""), known + "nothing");
  EXPECT_EQ(error_of("  "), known + "nothing");
  EXPECT_EQ(error_of("layer.gqa t4"), known + "layer.gqa, which is not available");
  EXPECT_EQ(error_of("attention"), known + "attention, which is not available");
}

TEST(Problem, UnknownWordsAreRefusedWithTheKnownOnes) {
  const std::string known =
      ": expected one of f32 f64 bf16 b# t# s# hq# hkv# d# dv# causal offset= window= mask= bias "
      "dropout= rng= softcap= alibi sinks lengths packed= thr= isa= seed=, got a word that is not "
      "available";
  for (const char* word : {"cap=5", "bias=1", "mask", "f16", "cache=f32", "m64", "t", "x9",
                           "causal=1", "offset", "thr", "12", "=", "T4"}) {
    EXPECT_EQ(error_of(std::string("attention.fwd t4 hq2 d8 ") + word),
              "[problem] " + std::string(word) + known);
  }
  EXPECT_THAT(error_of("gemm m4 n4 k4 causal"),
              ::testing::HasSubstr("one of f32 f64 m# n# k# weights= thr= isa= seed=, got"));
  EXPECT_THAT(
      error_of("layer.mha.fwd t4 m8 hq2 hkv1 d4"),
      ::testing::HasSubstr("one of f32 f64 bf16 b# t# s# hq# d# m# causal thr= isa= seed=, got"));
}

TEST(Problem, ImpossibleValuesAreRefused) {
  const std::string base = "attention.fwd t4 hq2 d8 ";
  EXPECT_EQ(error_of("attention.fwd hq2 d8"),
            "[problem] t: expected a size, as in t64, got nothing");
  EXPECT_EQ(error_of("gemm m4 k4"), "[problem] n: expected a size, as in n64, got nothing");
  EXPECT_EQ(error_of(base + "t5"), "[problem] t: expected one value, got t5");
  EXPECT_EQ(error_of(base + "f32 f64"), "[problem] dtype: expected one value, got f64");
  EXPECT_EQ(error_of(base + "causal causal"), "[problem] causal: expected one value, got causal");
  const std::string size = "expected a whole number from 1 to 2147483647, got ";
  EXPECT_EQ(error_of(base + "b0"), "[problem] b: " + size + "0");
  EXPECT_EQ(error_of(base + "b1x"), "[problem] b: " + size + "1x");
  EXPECT_EQ(error_of(base + "b99999999999999999999"),
            "[problem] b: " + size + "99999999999999999999");
  EXPECT_EQ(error_of(base + "hkv3"), "[problem] hkv: expected a divisor of hq2, got 3");
  EXPECT_EQ(error_of(base + "offset=1"),
            "[problem] offset=: expected causal or window= beside it, got 1");
  EXPECT_EQ(error_of(base + "packed=3"),
            "[problem] packed=: expected b1, and a divisor of t and s, got 3");
  EXPECT_EQ(error_of(base + "packed=2 lengths"),
            "[problem] lengths: expected no packed= and offset= beside it, got one of them");
  EXPECT_EQ(error_of(base + "mask=rows"), "[problem] mask=: expected bool or key, got rows");
  EXPECT_EQ(error_of(base + "rng=threefry"),
            "[problem] rng=: expected dropout= beside it, got threefry");
  EXPECT_EQ(error_of(base + "rng=mt"), "[problem] rng=: expected philox or threefry, got mt");
  for (const char* word : {"1.5", "-0.1", "nan", "", "0.1x"}) {
    EXPECT_EQ(error_of(base + "dropout=" + word),
              std::string("[problem] dropout=: expected a number from 0 to 1, got ") + word);
  }
  EXPECT_EQ(error_of(base + "window=0"), "[problem] window=: " + size + "0");
  EXPECT_EQ(error_of(base + "thr=-1"),
            "[problem] thr=: expected a whole number from 0 to 4096, got -1");
  EXPECT_EQ(error_of(base + "seed=a"),
            "[problem] seed=: expected a whole number from 0 to 2147483647, got a");
  EXPECT_THAT(error_of(base + "isa=avx9"), ::testing::HasSubstr("got avx9"));
  EXPECT_EQ(error_of("decode f32 hq2 d8 s9 form=ring"),
            "[problem] form=: expected window= beside ring, got none");
  EXPECT_EQ(error_of("decode f32 hq2 d8 s9 lengths window=3"),
            "[problem] lengths: expected no window= beside it, got 3");
  EXPECT_EQ(error_of("decode f64 hq2 d8 s9 cache=int8"),
            "[problem] cache=: expected f64, as the queries, got int8");
  EXPECT_EQ(error_of("gemm f64 m1 n2 k3 weights=int8"),
            "[problem] weights=: expected f64, as the rest, got int8");
  EXPECT_EQ(error_of("gemm m1 n2 k3 weights=f64"),
            "[problem] weights=: expected f32 or bf16 or int8, got f64");
  EXPECT_EQ(error_of("decode hq2 d8 s9 cache=u8"),
            "[problem] cache=: expected f32 or f64 or bf16 or int8, got u8");
  EXPECT_EQ(error_of("lm.train m60"), "[problem] m: expected hq8 heads of one even size, got 60");
}

TEST(Problem, WorkCountsWhatIsVisible) {
  EXPECT_EQ(count_flops(parse_problem("attention.fwd t4 hq2 d8")), 2.0 * 2 * 16 * 16);
  EXPECT_EQ(count_flops(parse_problem("attention.fwd t4 hq2 d8 causal")), 2.0 * 2 * 10 * 16);
  EXPECT_EQ(count_flops(parse_problem("attention.fwd t4 hq2 d8 causal offset=-3")), 2.0 * 2 * 16);
  EXPECT_EQ(count_flops(parse_problem("attention.fwd t4 hq2 d8 window=2")), 2.0 * 2 * 10 * 16);
  EXPECT_EQ(count_flops(parse_problem("attention.fwd t4 hq2 d8 packed=2")), 2.0 * 2 * 8 * 16);
  EXPECT_EQ(count_flops(parse_problem("attention.fwd t4 hq2 d8 causal window=2")),
            2.0 * 2 * 7 * 16);
  EXPECT_EQ(count_flops(parse_problem("attention.fwdbwd t4 hq2 d8")), 3.5 * 2 * 2 * 16 * 16);
  EXPECT_EQ(count_flops(parse_problem("gemm m2 n3 k5")), 60);
  // Projections: 2 rows of 5 by 2 heads of 8 for queries and outputs, by 1 for keys and values.
  const double projections = 2.0 * 2 * 5 * 8 * (2 + 2 + 1 + 1);
  EXPECT_EQ(count_flops(parse_problem("layer.gqa.fwd t2 m5 hq2 hkv1 d8")),
            projections + 2.0 * 2 * 4 * 16);
  EXPECT_EQ(count_flops(parse_problem("layer.gqa.train t2 m5 hq2 hkv1 d8 causal")),
            3 * projections + 3.5 * 2 * 2 * 3 * 16);
  EXPECT_EQ(count_flops(parse_problem("layer.mha.fwd t2 s3 m5 hq2 d8")),
            2.0 * 5 * 8 * (2 * 2 * 2 + 3 * 2 * 2) + 2.0 * 2 * 6 * 16);
  EXPECT_EQ(count_tokens(parse_problem("lm.train b2 t8")), 16);
  // One layer, hidden 4, one head, F 16, V 2: 2 (4 4 + 4 4 + 4 16) + 4 2 = 200 weights a position.
  // One new position that sees itself and one prompt position: 2 pairs.
  EXPECT_EQ(count_flops(parse_problem("lm.generate l1 m4 hq1 hkv1 v2 t1 s1")),
            2.0 * 200 + 4 * 2 * 4);
  EXPECT_EQ(count_flops(parse_problem("lm.train b1 l1 m4 hq1 hkv1 v2 t3")),
            3.0 * 2 * 3 * 200 + 3.5 * 4 * 6 * 4);
}

// Blocks of 64 x 64 that hide all, show all, and hide a third, about three quarters shown; and keys
// of which at least half are shown.
TEST(Problem, MasksAreDrawnByTheSeed) {
  const Problem p = parse_problem("attention.fwd b2 t512 s640 hq2 d8 mask=bool");
  const Tensor mask = make_block_mask(p);
  int kinds[3] = {};
  double visible = 0;
  for (Index block = 0; block < 2 * 8 * 10; ++block) {
    Index shown = 0;
    for (Index i = 0; i < 64 * 64; ++i) {
      const Index b = block / 80, t = block / 10 % 8 * 64 + i / 64, s = block % 10 * 64 + i % 64;
      const bool shows = mask.data<bool>()[(b * 512 + t) * 640 + s];
      EXPECT_EQ(shows, is_visible(p, b, t, s));
      shown += shows ? 1 : 0;
    }
    ++kinds[shown == 0 ? 0 : shown == 64 * 64 ? 1 : 2];
    visible += static_cast<double>(shown);
  }
  for (const int kind : kinds) EXPECT_GT(kind, 8);
  EXPECT_EQ(count_visible(p), visible);
  EXPECT_NEAR(visible / (2 * 512 * 640), 0.75, 0.08);
  const Problem keys = parse_problem("attention.fwd b2 t5 s640 hq2 d8 mask=key seed=3");
  const Tensor key_mask = make_key_mask(keys);
  const auto shown = std::count(key_mask.data<bool>(), key_mask.data<bool>() + 1280, true);
  EXPECT_GE(shown, 640);
  EXPECT_LT(shown, 1280);
  EXPECT_EQ(count_visible(keys), 5.0 * static_cast<double>(shown));
}

}  // namespace
}  // namespace grouphead::testing
